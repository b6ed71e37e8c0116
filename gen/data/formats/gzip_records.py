"""GzipRecords: the records of one gzipped TFRecord file in any order, from a copy in which each can be unpacked alone."""

from __future__ import annotations

import gzip
import logging
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gen.data.formats.tfrecord import FOOTER_BYTES, HEADER, record_length

logger = logging.getLogger(__name__)

MAX_RECORD_BYTES = 64 << 20  # a packed file tells little of its size, so that a damaged one could ask for all memory
_LOG_EVERY = 5000  # records


class GzipRecords:
    """The records of a gzipped TFRecord file by number.

    A gzip file can only be unpacked from its beginning. So the first process that needs `name.tfrecords` copies it once to
    `name.by_record.tfrecords`, in which every record is a gzip member of its own, and `name.by_record.npy`, where each of them ends; other
    processes wait. The copy is still a gzipped TFRecord file that TensorFlow reads, about as large as the original, which may then be
    deleted. gzip's own checksums stand for those of the records.
    """

    def __init__(self, path: Path) -> None:
        """Copy the file, if that has not been done, and read where its records are.

        Raises:
            ValueError: if the file is damaged, or its folder cannot be written to.
        """
        self._copy, index = path.with_suffix(".by_record.tfrecords"), path.with_suffix(".by_record.npy")
        if not index.is_file():
            _copy_once(path, self._copy, index)
        try:
            ends = np.load(index, allow_pickle=False)
        except (OSError, EOFError, ValueError) as error:
            raise ValueError(
                f"{index} cannot be read ({error}); delete it and {self._copy}, and they are made again from {path}"
            ) from error
        if not self._copy.is_file() or ends.ndim != 1 or not len(ends) or int(ends[-1]) != self._copy.stat().st_size:
            raise ValueError(f"{self._copy} and {index} do not belong together; delete both, and they are made again from {path}")
        self._ends = [0, *ends.tolist()]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def name(self, index: int) -> str:
        """Return where a record is, for messages."""
        return f"record {index} of {self._copy}"

    def __getitem__(self, index: int) -> memoryview:
        """Unpack a record.

        Raises:
            ValueError: if it is damaged or gone.
        """
        start, stop = self._ends[index : index + 2]
        try:
            with open(self._copy, "rb") as file:
                file.seek(start)
                packed = file.read(stop - start)
        except OSError as error:
            raise ValueError(f"{self.name(index)} cannot be read any more ({error}); bring it back") from error
        unpacker = zlib.decompressobj(wbits=31)
        try:
            framed = unpacker.decompress(packed, HEADER.size + MAX_RECORD_BYTES + FOOTER_BYTES)
        except zlib.error as error:
            raise ValueError(f"{self.name(index)} is damaged ({error}); delete the file, and it is made again") from error
        length = record_length(framed[: HEADER.size], self.name(index))
        if not unpacker.eof or len(framed) != HEADER.size + length + FOOTER_BYTES:
            raise ValueError(f"{self.name(index)} is damaged; delete the file, and it is made again")
        return memoryview(framed)[HEADER.size : -FOOTER_BYTES]


def _copy_once(path: Path, copy: Path, index: Path) -> None:
    """Make the copy and its index, if no other process has done it meanwhile."""
    import fcntl  # not on Windows

    try:
        with open(index.with_suffix(".lock"), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not index.is_file():
                _copy(path, copy, index)
    except OSError as error:
        raise ValueError(
            f"cannot copy {path} beside itself ({error}); put it, or a link to it, where there is as much space again that you may write to"
        ) from error


def _copy(path: Path, copy: Path, index: Path) -> None:
    """Make the copy, and then its index, which is there only if the copy is whole."""
    logger.warning("%s: copying it once, so that its records can be read in any order", path)
    part, part_of_index = copy.with_suffix(".part"), index.with_suffix(".part.npy")
    ends, begin = [0], time.monotonic()
    try:
        with open(part, "wb") as file:
            for number, framed in enumerate(_framed_records(path), start=1):
                ends.append(ends[-1] + file.write(gzip.compress(framed, compresslevel=1, mtime=0)))
                if number % _LOG_EVERY == 0:
                    logger.warning("%s: %d records, %.0f a second", path, number, number / (time.monotonic() - begin))
        if len(ends) == 1:
            raise ValueError(f"{path} holds no record; download the file again")
        np.save(part_of_index, np.array(ends[1:], np.int64))
        os.replace(part, copy)
        os.replace(part_of_index, index)
    finally:
        for leftover in (part, part_of_index):
            leftover.unlink(missing_ok=True)


def _framed_records(path: Path) -> Iterator[bytes]:
    """Yield every record of a gzipped file with its header and footer."""
    try:
        with gzip.open(path, "rb") as file:
            while header := file.read(HEADER.size):
                length = record_length(header, str(path))
                if length > MAX_RECORD_BYTES:
                    raise ValueError(f"{path} has a record of {length} bytes, more than the bound of {MAX_RECORD_BYTES}")
                body = file.read(length + FOOTER_BYTES)
                if len(body) < length + FOOTER_BYTES:
                    raise ValueError(f"{path} ends within a record; download the file again")
                yield header + body
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path} is damaged, or not gzipped ({error}); download the file again") from error
