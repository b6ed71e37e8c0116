"""Judge TIFF directories, of TIFF files and of EXIF data, before Pillow copies all that they list.

An entry of a directory names a stretch of bytes, and many entries may name the same: a file of 2 MB can list 100 GB.
"""

from __future__ import annotations

import struct
from io import BufferedReader, BytesIO

from PIL.JpegImagePlugin import MARKER

MAX_STRIPS = 100_000
MAX_FACTOR, MAX_SMALL = 4, 1 << 20
STRIP_OFFSETS, TILE_OFFSETS = 273, 324
# Bytes of a value by its type; Pillow skips the others.
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}


def check_file(file: BufferedReader | BytesIO) -> None:
    """Judge the directory in the header of a TIFF or JPEG file and rewind the file; other kinds pass.

    Raises:
        ValueError: as `check_directory` does.
    """
    start = file.read(2)
    file.seek(0)
    if start == b"\xff\xd8":
        check_directory(BytesIO(_exif_of_jpeg(file)))
    elif start in (b"II", b"MM"):
        check_directory(file)
    file.seek(0)


def check_directory(file: BufferedReader | BytesIO) -> None:
    """Judge the first directory of TIFF or EXIF data; damaged data pass, for cameras wrote many and their reader skips the damage.

    Raises:
        ValueError: if the entries list many times more bytes than there are, or more strips than a picture has.
    """
    length = file.seek(0, 2)
    file.seek(6 if _peek(file, 6) == b"Exif\0\0" else 0)
    try:
        listed, strips = _listed(file, file.tell(), length)
    except struct.error:
        return
    if listed > MAX_FACTOR * length + MAX_SMALL:
        raise ValueError(f"its TIFF directory lists {listed} bytes, many times more than the {length} that there are")
    if strips > MAX_STRIPS:
        raise ValueError(f"it has {strips} strips or tiles, more than the bound of {MAX_STRIPS}")


def _peek(file: BufferedReader | BytesIO, count: int) -> bytes:
    file.seek(0)
    return file.read(count)


def _listed(file: BufferedReader | BytesIO, start: int, length: int) -> tuple[int, int]:
    """Return the bytes and the strips that the first directory lists."""
    endian = ">" if file.read(2) == b"MM" else "<"
    (magic,) = _unpacked(file, endian + "H")
    first, count, entry = ("4xQ", "Q", "HHQ8x") if magic == 43 else ("I", "H", "HHI4x")
    file.seek(start + _unpacked(file, endian + first)[0])
    (entries,) = _unpacked(file, endian + count)
    listed, strips, size = 0, 0, struct.calcsize(endian + entry)
    content = file.read(entries * size) if entries < 1 << 16 else file.read()
    for tag, kind, values in struct.iter_unpack(endian + entry, content[: len(content) // size * size]):
        value_bytes = values * VALUE_BYTES.get(kind, 0)
        listed += size + (value_bytes if value_bytes <= length else 0)  # what cannot be there is not copied
        strips = max(strips, values if tag in (STRIP_OFFSETS, TILE_OFFSETS) else 0)
    return listed, strips


def _unpacked(file: BufferedReader | BytesIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _exif_of_jpeg(file: BufferedReader | BytesIO) -> bytes:
    """Return a JPEG's EXIF data; junk is skipped and blocks are joined as Pillow does."""
    blocks, byte = [], file.read(1)
    while byte:
        if byte != b"\xff":
            byte = file.read(1)
            continue
        kind = file.read(1)
        if kind == b"\xff":
            continue
        marker = 0xFF00 | int.from_bytes(kind)
        if marker == 0xFFDA or (marker != 0xFF00 and marker not in MARKER):
            break
        if marker != 0xFF00 and MARKER[marker][2] is not None:
            content = file.read(max(0, int.from_bytes(file.read(2)) - 2))
            if marker == 0xFFE1 and content.startswith(b"Exif\0\0"):
                blocks.append(content[6:])
        byte = file.read(1)
    return b"".join(blocks)
