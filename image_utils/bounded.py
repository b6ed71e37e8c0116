"""Open a picture of unknown origin within bounds: what comes is a picture or a ValueError that names the file, never a hang or a crash."""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from image_utils.directories import check_file

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000

# A progressive JPEG has about ten scans. Each passes over all pixels and may take a dozen bytes: a small file could decode for days.
MAX_SCANS = 100
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd8\xff])")  # of those that a length follows, and the end

# Only plain raster decoders: Pillow's EPS reader, for one, would start a PostScript interpreter on the user's file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


class RefusedPictureError(ValueError):
    """A picture that is not read; the message names the file and the remedy."""


def shown(path: str | Path) -> str:
    """Return a path as a message shows it: as it is, or quoted and escaped where it would break the line or the terminal."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


@contextmanager
def opened(
    path: str | Path,
    formats: tuple[str, ...],
    max_bytes: int,
    max_pixels: int,
    *,
    header_only: bool = False,
    content: bytes | None = None,
) -> Iterator[Image.Image]:
    """Yield a picture whose size is judged from the header, before any pixel is decoded.

    Whatever the body raises on the picture, for a decoder may raise anything on a hostile file, becomes a `RefusedPictureError`.

    Args:
        path: a file in one of the formats.
        formats: names of Pillow's formats.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height.
        header_only: leave the rest of the file unread, for a body that decodes nothing.
        content: of the file, where that lies in something else; `path` then says in messages where.

    Raises:
        RefusedPictureError: if the file is missing, no plain file, larger than the bounds, damaged or of an unknown kind.
    """
    wanted = f"a picture ({', '.join(formats)})"
    with plain_file(path, wanted, max_bytes) if content is None else BytesIO(content) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own, lower bound follows
        try:
            # Read at once: a file that grows while it is decoded cannot pass the bound.
            source = file if header_only else BytesIO(_whole(file, path, max_bytes))
            check_file(source)
            with Image.open(source, formats=formats) as image:
                check_pixels(path, image.size, max_pixels)
                yield image
        except RefusedPictureError:
            raise
        except Image.DecompressionBombError as error:
            raise RefusedPictureError(
                f"image {shown(path)} has more pixels than the bound of {max_pixels} ({error}); make it smaller"
            ) from error
        except Exception as error:
            raise unreadable(path, formats, error) from error


@contextmanager
def plain_file(path: str | Path, wanted: str, max_bytes: int) -> Iterator[BufferedReader]:
    """Yield a file opened for reading, if it is a plain file within the bound; opening a pipe or a device could wait for ever.

    Args:
        path: of the file.
        wanted: what to give instead, for messages.
        max_bytes: largest file that is opened.

    Raises:
        RefusedPictureError: if the file is missing, no plain file, not readable or larger than the bound.
    """
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            kind = "is a folder" if stat.S_ISDIR(found.st_mode) else "is a pipe or a device"
            raise RefusedPictureError(f"image {shown(path)} {kind}; give the path of {wanted}")
        if found.st_size > max_bytes:
            raise _too_many_bytes(path, str(found.st_size), max_bytes)
        file = open(path, "rb")  # noqa: SIM115 - closed below; errors of the body are not those of opening
    except FileNotFoundError:
        kind = "is a link to a file that does not exist" if os.path.islink(path) else "does not exist"
        raise RefusedPictureError(f"image {shown(path)} {kind}; give the path of {wanted}") from None
    except (OSError, ValueError) as error:  # a loop of links, a name too long, a null byte in it, no permission
        if isinstance(error, RefusedPictureError):
            raise
        reason = error.strerror if isinstance(error, OSError) else error
        raise RefusedPictureError(f"image {shown(path)} cannot be opened ({reason}); give the path of {wanted}") from error
    with file:
        yield file


def check_pixels(path: str | Path, size: tuple[int, int], max_pixels: int) -> None:
    """Judge the size of a picture.

    Raises:
        RefusedPictureError: if width times height is above the bound.
    """
    if size[0] * size[1] > max_pixels:
        raise RefusedPictureError(
            f"image {shown(path)} has {size[0]}x{size[1]} pixels, more than the bound of {max_pixels}; make it smaller"
        )


def unreadable(path: str | Path, formats: tuple[str, ...], error: Exception) -> RefusedPictureError:
    """Return the refusal of a file that a decoder has failed on."""
    # Pillow's own words would name a buffer in memory.
    unknown = isinstance(error, UnidentifiedImageError)
    reason = "its content is no picture of a known kind" if unknown else " ".join(str(error).split()) or type(error).__name__
    return RefusedPictureError(f"image {shown(path)} cannot be read ({reason}); give an undamaged picture ({', '.join(formats)})")


def _whole(file: BufferedReader | BytesIO, path: str | Path, max_bytes: int) -> bytes:
    content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _too_many_bytes(path, "too many", max_bytes)
    if content.startswith(b"\xff\xd8") and _too_many_scans(content):
        raise RefusedPictureError(f"image {shown(path)} has more scans than the bound of {MAX_SCANS}; save it anew as a plain JPEG")
    return content


def _too_many_scans(content: bytes) -> bool:
    """Walk from marker to marker of a JPEG as its decoder does: thumbnails inside, and the video that telephones append, do not count."""
    scans, found = 0, _JPEG_MARKER.search(content, 2)
    while found is not None and found[1] != b"\xd9" and scans <= MAX_SCANS:
        scans += found[1] == b"\xda"
        found = _JPEG_MARKER.search(content, found.end() + int.from_bytes(content[found.end() : found.end() + 2]))
    return scans > MAX_SCANS


def _too_many_bytes(path: str | Path, count: str, max_bytes: int) -> RefusedPictureError:
    return RefusedPictureError(f"image {shown(path)} has {count} bytes, more than the bound of {max_bytes}; make it smaller")
