"""Read pictures with bounds and write PNGs whole or not at all."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import ExifTags, Image, ImageOps, PngImagePlugin
from torch import Tensor

MAX_BYTES = 64 << 20
MAX_PIXELS = 64_000_000

# Only plain raster decoders: Pillow's EPS reader, for one, would start a PostScript interpreter on the user's file.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")


def load_image(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as 8-bit RGB, upright (EXIF applied), transparency laid on white, first frame of an animation.

    Args:
        path: a file in one of `FORMATS`.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height that is decoded.

    Raises:
        ValueError: if the file is missing, larger than the bounds, damaged or of an unknown kind; names the path and the remedy.
    """
    with _opened(Path(path), FORMATS, max_bytes, max_pixels) as image:
        return _to_rgb(ImageOps.exif_transpose(image), path)


def decode_image(data: bytes, name: str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode a picture file's content as `load_image` reads the file.

    Args:
        data: the content, in one of `FORMATS`.
        name: of the picture, for messages.
        max_bytes: most bytes that are decoded.
        max_pixels: largest width times height that is decoded.

    Raises:
        ValueError: if the content is larger than the bounds, damaged or of an unknown kind.
    """
    with _decoded(data, name, FORMATS, max_bytes, max_pixels) as image:
        return _to_rgb(ImageOps.exif_transpose(image), name)


def check_image(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Judge a picture by its header, without decoding its pixels.

    Args:
        path: a file in one of `FORMATS`.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height.

    Returns:
        (width, height) in pixels, of the upright picture.

    Raises:
        ValueError: if the file is missing, larger than the bounds, of an unknown kind, or its header is damaged.
    """
    with _opened(Path(path), FORMATS, max_bytes, max_pixels, decode=False) as image:
        # Asking a PNG for EXIF data that its header lacks would decode the whole picture.
        exif = image.getexif() if image.format != "PNG" or "exif" in image.info else {}
        lies_on_its_side = exif.get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
        return (image.height, image.width) if lies_on_its_side else image.size


def load_label_map(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Int[Tensor, "h w"]:
    """Read a label map from a PNG: a pixel's grey value or palette index is its label.

    Args:
        path: a PNG of 1, 8 or 16 bits with one channel.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height that is decoded.

    Returns:
        Labels, 0 for the background.

    Raises:
        ValueError: if `load_image` would refuse the file, or it has colours where labels are expected.
    """
    with _opened(Path(path), ("PNG",), max_bytes, max_pixels) as image:
        _refuse_colours(image, path)
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def decode_label_map(data: bytes, name: str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Int[Tensor, "h w"]:
    """Decode a label map's content as `load_label_map` reads the file; it may also be a TIFF, as some libraries store 16 and 32 bits.

    Args:
        data: the content of a PNG or TIFF with one channel.
        name: of the label map, for messages.
        max_bytes: most bytes that are decoded.
        max_pixels: largest width times height that is decoded.

    Raises:
        ValueError: if the content is larger than the bounds, damaged, of another kind, or has colours where labels are expected.
    """
    with _decoded(data, name, ("PNG", "TIFF"), max_bytes, max_pixels) as image:
        _refuse_colours(image, name)
        return torch.from_numpy(np.asarray(image).astype(np.int64))


def check_label_map(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Judge a label map by its header, without decoding it, and return its (width, height) in pixels.

    Raises:
        ValueError: if `load_label_map` would refuse the file for what its header says.
    """
    with _opened(Path(path), ("PNG",), max_bytes, max_pixels, decode=False) as image:
        _refuse_colours(image, path)
        return image.size


def save_label_map(label_map: Int[Tensor, "h w"], path: str | Path) -> None:
    """Write a label map as a grey PNG that `load_label_map` reads back: 8 bits, or 16 where a label needs them.

    Raises:
        ValueError: if a label is outside 0..65535.
    """
    smallest, largest = int(label_map.min()), int(label_map.max())
    if smallest < 0 or largest > 65535:
        raise ValueError(f"label {smallest if smallest < 0 else largest} does not fit in a PNG; use labels 0..65535")
    save_image(Image.fromarray(label_map.cpu().numpy().astype(np.uint8 if largest < 256 else np.uint16)), path)


def save_image(image: Image.Image, path: str | Path, text: dict[str, str] | None = None) -> None:
    """Write a PNG under a temporary name and rename it, so that `path` is never half a picture.

    Args:
        image: what to write.
        path: ends in .png; its folder is made if missing; an existing file is replaced.
        text: chunks to store beside the pixels, read again by `read_text`.

    Raises:
        ValueError: if `path` does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"cannot save {path}: pictures are written as PNG; give a name that ends in .png")
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(temporary, "wb") as file:
            image.save(file, format="PNG", pnginfo=chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> dict[str, str]:
    """Return a PNG's text chunks by key.

    Args:
        path: a PNG file.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height that is decoded.

    Raises:
        ValueError: if the file is missing, not a PNG, damaged, or larger than the bounds.
    """
    with _opened(Path(path), ("PNG",), max_bytes, max_pixels) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        return {key: str(value) for key, value in image.text.items()}


@contextmanager
def _opened(path: Path, formats: tuple[str, ...], max_bytes: int, max_pixels: int, decode: bool = True) -> Iterator[Image.Image]:
    """Yield the decoded picture; its size is judged from the header, before any pixel is decoded."""
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise ValueError(f"image {path} {found}; give the path of a picture ({', '.join(formats)})")
    size = path.stat().st_size
    if size > max_bytes:
        raise ValueError(f"image {path} has {size} bytes, more than the bound of {max_bytes}; make it smaller")
    with _identified(path, path, formats, max_pixels, decode) as image:
        yield image


@contextmanager
def _decoded(data: bytes, name: str, formats: tuple[str, ...], max_bytes: int, max_pixels: int) -> Iterator[Image.Image]:
    if len(data) > max_bytes:
        raise ValueError(f"image {name} has {len(data)} bytes, more than the bound of {max_bytes}; make it smaller")
    with _identified(BytesIO(data), name, formats, max_pixels) as image:
        yield image


@contextmanager
def _identified(
    source: Path | BytesIO, path: str | Path, formats: tuple[str, ...], max_pixels: int, decode: bool = True
) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own, lower bound follows
        try:
            image = Image.open(source, formats=formats)
        except Image.DecompressionBombError as error:
            raise ValueError(f"image {path} has more pixels than the bound of {max_pixels} ({error}); make it smaller") from error
        except Exception as error:  # a decoder may raise anything on a hostile file; all of it means: unreadable
            raise _unreadable(path, formats, error) from error
    with image:
        width, height = image.size
        if width * height > max_pixels:
            raise ValueError(f"image {path} has {width}x{height} pixels, more than the bound of {max_pixels}; make it smaller")
        try:
            if decode:
                image.load()
        except Exception as error:
            raise _unreadable(path, formats, error) from error
        yield image


def _refuse_colours(image: Image.Image, path: str | Path) -> None:
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise ValueError(f"label map {path} is a picture in mode {image.mode}; save it as a grey or palette PNG, one label a pixel")


def _unreadable(path: str | Path, formats: tuple[str, ...], error: Exception) -> ValueError:
    reason = str(error) or type(error).__name__
    return ValueError(f"image {path} cannot be read ({reason}); give an undamaged picture ({', '.join(formats)})")


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"image {path} has pixels of 32 bits (mode {image.mode}); convert it to 8 or 16 bits a channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
