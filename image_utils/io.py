"""Read pictures with bounds and write PNGs whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image, PngImagePlugin
from torch import Tensor

from image_utils.bounded import FORMATS, MAX_BYTES, MAX_PIXELS, RefusedPictureError, opened, shown
from image_utils.srgb import orientation, upright_srgb

# A grey PNG of 2 or 4 bits is spread over 0..255 as it is decoded; the label is what was stored.
SPREAD = {"L;2": 85, "L;4": 17}


def load_image(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture as 8-bit sRGB: upright (EXIF applied), ICC profile applied, transparency on white, first frame of an animation.

    Args:
        path: a file in one of `FORMATS`.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height that is decoded.

    Raises:
        ValueError: if the file is missing, larger than the bounds, damaged or of an unknown kind; names the path and the remedy.
    """
    with opened(path, FORMATS, max_bytes, max_pixels) as image:
        image.load()
        return upright_srgb(image, shown(path))


def decode_image(content: bytes, name: str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read a picture from the content of a file, as `load_image` does; `name` says in messages where it lies.

    Raises:
        ValueError: if `load_image` would refuse such a file.
    """
    with opened(name, FORMATS, max_bytes, max_pixels, content=content) as image:
        image.load()
        return upright_srgb(image, shown(name))


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
    with opened(path, FORMATS, max_bytes, max_pixels, header_only=True) as image:
        # Of a TIFF, Pillow tells the upright size. A PNG without EXIF data in its header would be decoded in search of some.
        as_stored = image.format != "TIFF" and (image.format != "PNG" or "exif" in image.info)
        return (image.height, image.width) if as_stored and orientation(image) >= 5 else image.size


def load_label_map(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Int[Tensor, "h w"]:
    """Read a label map from a PNG: a pixel's grey value or palette index is its label.

    Args:
        path: a PNG of 1 to 16 bits with one channel.
        max_bytes: largest file that is opened.
        max_pixels: largest width times height that is decoded.

    Returns:
        Labels, 0 for the background.

    Raises:
        ValueError: if `load_image` would refuse the file, or it has colours where labels are expected.
    """
    with opened(path, ("PNG",), max_bytes, max_pixels) as image:
        return _labels(image, path)


def decode_label_map(content: bytes, name: str, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Int[Tensor, "h w"]:
    """Read a label map from the content of a PNG, or of a TIFF, in which some libraries store 16 and 32 bits.

    Raises:
        ValueError: if `load_label_map` would refuse such a file; `name` says where it lies.
    """
    with opened(name, ("PNG", "TIFF"), max_bytes, max_pixels, content=content) as image:
        return _labels(image, name)


def check_label_map(path: str | Path, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Judge a label map by its header, without decoding it, and return its (width, height) in pixels.

    Raises:
        ValueError: if `load_label_map` would refuse the file for what its header says.
    """
    with opened(path, ("PNG",), max_bytes, max_pixels, header_only=True) as image:
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
        raise ValueError(f"cannot save {shown(path)}: pictures are written as PNG; give a name that ends in .png")
    chunks = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    with whole_or_not(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=chunks)


@contextmanager
def whole_or_not(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; what was written gets its name if the body ends well, and is gone if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
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
    with opened(path, ("PNG",), max_bytes, max_pixels) as image:
        assert isinstance(image, PngImagePlugin.PngImageFile)
        return {key: str(value) for key, value in image.text.items()}


def _labels(image: Image.Image, path: str | Path) -> Int[Tensor, "h w"]:
    _refuse_colours(image, path)
    tiles = getattr(image, "tile", None) if image.format == "PNG" else None
    spread = SPREAD.get(str(tiles[0][3]), 1) if tiles else 1  # before decoding takes the tile away
    return torch.from_numpy(np.asarray(image).astype(np.int64) // spread)


def _refuse_colours(image: Image.Image, path: str | Path) -> None:
    if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "I;16L"):
        raise RefusedPictureError(
            f"label map {shown(path)} is a picture in mode {image.mode}; save it as a grey or palette PNG, one label a pixel"
        )
