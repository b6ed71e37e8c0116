"""Files that a folder of pictures may hold by accident or malice; `bad_pictures` writes one of each kind."""

from __future__ import annotations

import os
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, TiffImagePlugin

# These look odd but hold a picture, which must come; everything else must be refused by name.
READABLE = frozenset(
    {
        "cmyk.jpg",
        "cmyk_foreign_profile.jpg",
        "exif_corrupt.jpg",
        "exif_infinite.jpg",
        "exif_nan.tiff",
        "extension_wrong.png",
        "gif_many_frames.gif",
        "apng_later_frame_damaged.png",
        "icc_damaged.jpg",
        "jpeg_restart_interval.jpg",
        "jpeg_with_thumbnail.jpg",
        "jpeg_with_video.jpg",
        "name\nwith\nnewlines.png",
        "name_not_utf8_\udcff.png",
        "name_with_escape_\x1b[31m.png",
        "tiff_cyclic.tiff",
        "trailing_gigabytes_promised.bmp",
    }
)
BAD_ANIMATIONS = frozenset({"apng_later_frame_damaged.png"})  # read as a picture, refused as an animation
SUFFIXES = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "BMP": "bmp", "TIFF": "tiff", "GIF": "gif", "PPM": "ppm"}


def bad_pictures(folder: Path) -> dict[str, Path]:
    """Write the corpus into an empty folder and return its files by name; none is larger than 5 MB."""
    contents = {**_truncated(), **_png_bombs(), **_foreign(), **_jpegs(), **_tiffs(), **_animations(), **_headers(), **_odd_names()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    special = ("folder.png", "pipe.png", "device.png", "link_dangling.png", "link_loop.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "link_dangling.png").symlink_to("nowhere.png")
    (folder / "link_loop.png").symlink_to("link_loop.png")
    names = [*contents, *special]
    if os.geteuid() != 0:  # root may read everything
        (folder / "no_permission.png").write_bytes(saved("PNG"))
        (folder / "no_permission.png").chmod(0)
        names.append("no_permission.png")
    return {name: folder / name for name in names}


def picture() -> Image.Image:
    """Return a picture of 48x32 pixels with large and small structure."""
    noise = np.random.default_rng(0).integers(0, 64, (32, 48, 3))
    return Image.fromarray((np.indices((32, 48)).sum(0)[..., None] * 2 + noise).astype(np.uint8))


def saved(kind: str, image: Image.Image | None = None, **options) -> bytes:
    """Return a picture as a file of one of Pillow's formats."""
    file = BytesIO()
    (image or picture()).save(file, kind, **options)
    return file.getvalue()


def png(header: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of an IHDR's data and further chunks, with correct checksums."""
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def png_header(width: int, height: int) -> bytes:
    """Return an IHDR's data for 8-bit RGB."""
    return struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def tiff(entries: bytes, count: int, next_directory: int, pixels: bytes = b"") -> bytes:
    """Return a little-endian TIFF with one directory."""
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + struct.pack("<I", next_directory) + pixels


def amplified(entries: int, size: int) -> bytes:
    """Return a TIFF whose entries all list the same bytes: read as they say, they fill entries times size bytes of memory."""
    directory = b"".join(struct.pack("<HHII", 700 + entry, 7, size, 0) for entry in range(entries))
    return tiff(directory, entries, 0).ljust(size, b"\0")


def _zeros(megabytes: int) -> bytes:
    """Return that many compressed megabytes of zeros, at a thousandth of the size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)  # complete in itself, so it can be repeated
    checksum = struct.pack(">I", (megabytes << 20) % 65_521 << 16 | 1)
    return b"\x78\xda" + block * megabytes + packer.flush() + checksum


def _truncated() -> dict[str, bytes]:
    flat = picture().convert("P")
    files = {f"truncated.{suffix}": saved(kind, flat if kind == "GIF" else None) for kind, suffix in SUFFIXES.items()}
    files["truncated_progressive.jpg"] = saved("JPEG", progressive=True)
    files["truncated_lzw.tiff"] = saved("TIFF", compression="tiff_lzw")
    cut = {name: content[: len(content) * 2 // 3] for name, content in files.items()}
    return {**cut, "truncated_header.png": saved("PNG")[:20], "empty.png": b"", "one_byte.jpg": b"\xff"}


def _png_bombs() -> dict[str, bytes]:
    pixels = (b"IDAT", zlib.compress(bytes(100)))
    gigabyte = _zeros(1024)
    small, rows = png_header(8, 8), (b"IDAT", zlib.compress(bytes(25 * 8)))
    return {
        "bomb_60000.png": png(png_header(60_000, 60_000), pixels),
        "bomb_10000.png": png(png_header(10_000, 10_000), pixels),
        "bomb_widest.png": png(png_header(2**31 - 1, 2**31 - 1), pixels),
        "bomb_text.png": png(small, (b"zTXt", b"key\0\0" + gigabyte), rows),
        "bomb_international_text.png": png(small, (b"iTXt", b"key\0\1\0\0\0" + gigabyte), rows),
        "bomb_profile.png": png(small, (b"iCCP", b"key\0\0" + gigabyte), rows),
        "bomb_pixels_missing.png": png(png_header(7900, 7900), pixels),
        "zero_sized.png": png(png_header(0, 8), rows),
        "no_pixels.png": png(small),
        "checksum_wrong.png": saved("PNG").replace(b"IDAT", b"IDAX", 1),
    }


def _foreign() -> dict[str, bytes]:
    return {
        "text.png": b"this is no picture\n" * 20,
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "drawing.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        "document.png": b"%PDF-1.7\n1 0 obj << /Type /Catalog >> endobj\ntrailer << /Root 1 0 R >>\n%%EOF\n",
        "postscript.jpg": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n%%EOF\n",
        "archive.webp": b"PK\x03\x04" + bytes(60),
        "pickle.png": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "array.tiff": b"\x93NUMPY\x01\x00v\x00" + bytes(200),
        "icon_holding_png.png": struct.pack("<HHHBBBBHHII", 0, 1, 1, 48, 32, 0, 0, 1, 32, 500, 22) + saved("PNG"),
        "extension_wrong.png": saved("JPEG"),
    }


def _jpegs() -> dict[str, bytes]:
    plain, cmyk = saved("JPEG"), picture().convert("CMYK")
    nan = Image.Exif()
    nan[0x011A], nan[0x011B] = TiffImagePlugin.IFDRational(0, 0), TiffImagePlugin.IFDRational(1, 0)
    nan[0x0112] = 6
    progressive = saved("JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return {
        "cmyk.jpg": saved("JPEG", cmyk),
        "cmyk_foreign_profile.jpg": saved("JPEG", cmyk, icc_profile=b"\0" * 500),
        "icc_damaged.jpg": saved("JPEG", icc_profile=b"no profile at all"),
        "exif_infinite.jpg": saved("JPEG", exif=nan),
        "exif_corrupt.jpg": saved("JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\xfe" * 64),
        "exif_amplified.jpg": plain[:2] + _exif_blocks(amplified(20_000, 1_000_000)) + plain[2:],
        "jpeg_restart_interval.jpg": plain[:2] + b"\xff\xdd\x00\x04\xff\xff" + plain[2:],
        "jpeg_many_scans.jpg": progressive[:-2] + scan * 20_000 + b"\xff\xd9",
        "jpeg_with_video.jpg": plain + scan[:2] * 500 + plain,  # telephones append what moved; the decoder does not read on
        "jpeg_with_thumbnail.jpg": plain[:2] + b"\xff\xe1" + struct.pack(">H", 1002) + scan[:2] * 500 + plain[2:],
        "jpeg_65500.jpg": _resized_jpeg(plain, 65_500),
        "jpeg_no_height.jpg": _resized_jpeg(plain, 0),
        "jpeg_in_jpeg.jpg": b"\xff\xd8\xff\xe0\xff\xff" + plain * 3,
    }


def _exif_blocks(exif: bytes) -> bytes:
    """Return EXIF data as blocks of a JPEG, which Pillow joins, each behind some junk, which it skips."""
    parts = [b"Exif\0\0" + exif[start : start + 60_000] for start in range(0, len(exif), 60_000)]
    return b"".join(b"junk\xff\xff\xe1" + struct.pack(">H", len(part) + 2) + part for part in parts)


def _resized_jpeg(content: bytes, side: int) -> bytes:
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + struct.pack(">HH", side, side) + content[start + 4 :]


def _tiffs() -> dict[str, bytes]:
    tags = ((256, 8), (257, 8), (258, 8), (259, 1), (262, 1), (273, 8 + 2 + 9 * 12 + 4), (277, 1), (278, 8), (279, 64))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    resolution = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in [(282, 12, 8 + 2 + 10 * 12 + 4)])
    shifted = entries.replace(struct.pack("<I", 8 + 2 + 9 * 12 + 4), struct.pack("<I", 8 + 2 + 10 * 12 + 4 + 8))
    nan = struct.pack("<d", float("nan"))
    strips = entries.replace(struct.pack("<HHII", 273, 4, 1, 8 + 2 + 9 * 12 + 4), struct.pack("<HHII", 273, 1, 2_000_000, 200))
    strips = strips.replace(struct.pack("<HHII", 278, 4, 1, 8), struct.pack("<HHII", 278, 4, 1, 1))
    wide = entries.replace(struct.pack("<HHII", 256, 4, 1, 8), struct.pack("<HHII", 256, 4, 1, 2**31 - 1))
    return {
        "tiff_cyclic.tiff": tiff(entries, 9, 8, bytes(64)),
        "exif_nan.tiff": tiff(shifted + resolution, 10, 0, nan + bytes(64)),
        "tiff_many_entries.tiff": b"II*\0" + struct.pack("<IH", 8, 65_535) + struct.pack("<HHII", 256, 4, 2**32 - 1, 0) * 4000,
        "tiff_big_many_entries.tiff": b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**62) + bytes(4000),
        "tiff_wide.tiff": tiff(wide, 9, 0, bytes(64)),
        "tiff_many_strips.tiff": tiff(strips, 9, 0, bytes(2_000_100)),
        "tiff_amplified.tiff": amplified(20_000, 1_000_000),
        "exif_amplified.png": png(png_header(8, 8), (b"eXIf", amplified(20_000, 1_000_000)), (b"IDAT", zlib.compress(bytes(25 * 8)))),
        "exif_amplified.webp": saved("WEBP", exif=amplified(20_000, 1_000_000)),
        "tiff_past_the_end.tiff": b"II*\0\xff\xff\xff\x7f",
    }


def _animations() -> dict[str, bytes]:
    dot = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x4c\x01\x00"
    palette = bytes(range(256)) * 3
    frames = [picture().rotate(90 * turn) for turn in range(3)]
    animation = saved("PNG", frames[0], save_all=True, append_images=frames[1:], duration=100)
    later = animation.index(b"fdAT") + 40
    canvas = struct.pack("<I", 16_382)[:3] * 2
    webp = b"VP8X" + struct.pack("<IB", 10, 2) + bytes(3) + canvas + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return {
        "gif_many_frames.gif": b"GIF89a" + struct.pack("<HHBBB", 4000, 4000, 0xF7, 0, 0) + palette + dot * 200_000 + b";",
        "gif_65535.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0xF7, 0, 0) + palette + dot + b";",
        "gif_frame_outside.gif": b"GIF89a"
        + struct.pack("<HHBBB", 4, 4, 0xF7, 0, 0)
        + palette
        + dot.replace(struct.pack("<HHHH", 0, 0, 1, 1), struct.pack("<HHHH", 65_000, 65_000, 1, 1))
        + b";",
        "apng_later_frame_damaged.png": animation[:later] + bytes(200) + animation[later + 200 :],
        "webp_16383.webp": b"RIFF" + struct.pack("<I", len(webp) + 4) + b"WEBP" + webp,
    }


def _headers() -> dict[str, bytes]:
    bmp = bytearray(saved("BMP"))
    bmp[2:6] = struct.pack("<I", 2**32 - 1)  # the file's length, which nobody needs
    wide = bytearray(saved("BMP"))
    wide[18:26] = struct.pack("<ii", 2**31 - 1, 2**31 - 1)
    return {
        "trailing_gigabytes_promised.bmp": bytes(bmp),
        "bmp_wide.bmp": bytes(wide),
        "ppm_wide.ppm": b"P6\n99999999 99999999\n255\n",
        "ppm_number_endless.ppm": b"P6\n" + b"9" * 1_000_000,
        "ppm_negative.ppm": b"P6\n-5 -5\n255\n" + bytes(75),
        "pfm_32_bits.pfm": b"Pf\n2 2\n-1.0\n" + struct.pack("<ffff", float("nan"), float("inf"), 0, 1),
    }


def _odd_names() -> dict[str, bytes]:
    names = ("name\nwith\nnewlines.png", "name_not_utf8_\udcff.png", "name_with_escape_\x1b[31m.png")
    return {**dict.fromkeys(names, saved("PNG")), "damaged\nwith\nnewlines.png": saved("PNG")[:60], "damaged_\udcff.png": b"no picture"}
