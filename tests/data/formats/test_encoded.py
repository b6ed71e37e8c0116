"""Pictures from bytes: what is decoded, and what is refused before it is decoded."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gen.data.formats.encoded import encoded_picture
from image_utils.io import decode_image, decode_label_map


def content(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims a size."""
    size = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (size, pixels)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PICTURE = content(np.zeros((6, 4, 3), np.uint8))


def test_masks_of_objects_become_regions_that_may_overlap():
    outer, inner = np.zeros((2, 6, 4), np.uint8)
    outer[1:5], inner[2:3, 1:3] = 255, 1
    masks = encoded_picture("a", PICTURE, [content(outer), content(inner)]).label_map
    assert masks.dtype == torch.bool
    assert masks.flatten(1).sum(1).tolist() == [8, 16, 2]
    assert encoded_picture("a", PICTURE, []).label_map.all(), "no object: all is background"
    assert encoded_picture("a", PICTURE).label_map is None


def test_a_picture_is_upright_and_in_rgb():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = content(np.zeros((6, 4), np.uint8), "JPEG", exif=exif)
    image = decode_image(turned, "a")
    assert (image.size, image.mode) == ((6, 4), "RGB")


@pytest.mark.parametrize("decode", [decode_image, decode_label_map])
def test_what_is_too_large_or_no_picture_is_refused_by_name(decode):
    for data, message in (
        (png_header(60_000, 60_000), r"image big one has"),
        (PICTURE[:40], r"image big one cannot be read"),
        (b"", r"image big one cannot be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", r"image big one cannot be read"),
    ):
        with pytest.raises(ValueError, match=message):
            decode(data, "big one")
    with pytest.raises(ValueError, match="big one has .* bytes, more than the bound of 10"):
        decode(PICTURE, "big one", max_bytes=10)
    with pytest.raises(ValueError, match="big one has 4x6 pixels, more than the bound of 10"):
        decode(PICTURE, "big one", max_pixels=10)


def test_a_label_map_with_losses_or_colours_or_of_another_size_is_refused():
    for mask, message in (
        (content(np.zeros((6, 4), np.uint8), "JPEG"), r"a \(label map\) cannot be read"),
        (PICTURE, r"label map a \(label map\) is a picture in mode RGB"),
        (content(np.zeros((4, 6), np.uint8)), r"a \(label map\) is 6x4 pixels but the picture is 4x6"),
    ):
        with pytest.raises(ValueError, match=message):
            encoded_picture("a", PICTURE, mask)
