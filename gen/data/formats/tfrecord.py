"""TFRecord files without TensorFlow: every record by its number, framing and checksums checked."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

from gen.data.formats.crc32c import masked_crc32c

HEADER = struct.Struct("<QI")  # the length of the record, and the checksum of these eight bytes
FOOTER_BYTES = 4  # the checksum of the record


class TFRecords:
    """The records of plain TFRecord files in their order, any one of which can be read.

    The places of all records are kept, not the records: those are mapped from disk, so that only what is looked at is read. The
    checksum of a record is compared when the record is first asked for in a process.

    Layout: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Find the records.

        Raises:
            ValueError: if a file is cut off or no TFRecord file, naming it.
        """
        self._places = [(path, offset, length) for path in paths for offset, length in _places(path)]
        self._checked: set[int] = set()

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        """Return where a record is, for messages."""
        path, offset, _ = self._places[index]
        return f"the record at byte {offset} of {path}"

    def __getitem__(self, index: int) -> memoryview:
        """Return a record.

        Raises:
            ValueError: if the record is damaged or gone.
        """
        path, offset, length = self._places[index]
        try:
            with open(path, "rb") as file:
                mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:  # of an empty file, ValueError
            raise ValueError(f"{self.name(index)} cannot be read any more ({error}); bring it back") from error
        record, footer = mapped[offset : offset + length], mapped[offset + length : offset + length + FOOTER_BYTES]
        if index not in self._checked:
            if len(footer) < FOOTER_BYTES or masked_crc32c(record) != int.from_bytes(footer, "little"):
                raise ValueError(f"{self.name(index)} is damaged: its checksum does not fit; download the file again")
            self._checked.add(index)
        return record


def record_length(header: bytes, name: str) -> int:
    """Return the length that a record's header tells.

    Args:
        header: the twelve bytes before a record, or fewer where the file ends.
        name: of the file, for messages.

    Raises:
        ValueError: if the header is cut off or its checksum does not fit.
    """
    if len(header) < HEADER.size:
        raise ValueError(f"{name} ends within a record; download the file again")
    length, checksum = HEADER.unpack(header)
    if masked_crc32c(header[:8]) != checksum:
        raise ValueError(f"{name} is no TFRecord file, or damaged: a length's checksum does not fit; download the file again")
    return length


def _places(path: Path) -> list[tuple[int, int]]:
    """Return the offset and length of every record of a file; only the headers are read."""
    places, size = [], path.stat().st_size
    with open(path, "rb") as file:
        offset = 0
        while offset < size:
            file.seek(offset)
            length = record_length(file.read(HEADER.size), str(path))
            offset += HEADER.size
            if length > size - offset - FOOTER_BYTES:
                raise ValueError(f"{path} ends within a record; download the file again")
            places.append((offset, length))
            offset += length + FOOTER_BYTES
    return places
