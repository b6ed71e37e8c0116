"""Any decoded picture upright, in sRGB, 8 bits a channel."""

from __future__ import annotations

import warnings
from io import BytesIO

import numpy as np
from PIL import ExifTags, Image, ImageCms

from image_utils.bounded import RefusedPictureError
from image_utils.directories import check_directory

MAX_HEX_EXIF = 2 * 65_536 + 100  # what fits in a JPEG's block

# What makes a picture upright, by its EXIF orientation; 1, the usual one, needs nothing.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_srgb(image: Image.Image, name: str) -> Image.Image:
    """Return a picture as people see it: turned as EXIF says, transparency on white, 16 bits cut to 8, an ICC profile applied.

    A picture without a profile is taken as sRGB. A profile that is damaged, or made for other channels than the picture's, is left
    aside with a warning, as browsers do. The result carries no metadata: a profile would be wrong for it.

    Args:
        image: decoded, in any mode of 8 or 16 bits a channel.
        name: of the file, for messages.

    Raises:
        RefusedPictureError: if a channel has 32 bits, for then nothing says which value is white.
    """
    turn = TURNS.get(orientation(image))
    pixels = _eight_bits(image, name)
    profile = image.info.get("icc_profile")
    srgb = _through_profile(pixels, profile, name) if profile else pixels.convert("RGB")
    srgb = srgb.transpose(turn) if turn is not None else srgb
    srgb.info = {}
    return srgb


def orientation(image: Image.Image) -> int:
    """Return a picture's EXIF orientation, 1..8; 1, upright, where it has none that means anything.

    Raises:
        ValueError: if the EXIF data are a bomb.
    """
    written_by_imagemagick = image.info.get("Raw profile type exif", "")  # in hexadecimal
    if len(written_by_imagemagick) > MAX_HEX_EXIF:
        raise ValueError(f"its EXIF data have {len(written_by_imagemagick)} characters, more than the bound of {MAX_HEX_EXIF}")
    check_directory(BytesIO(image.info.get("exif", b"")))
    found = image.getexif().get(ExifTags.Base.Orientation)
    return found if isinstance(found, int) and found in TURNS else 1


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """Return the picture in mode RGB, L or CMYK."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow scales every PPM of two bytes to 16 bits
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise RefusedPictureError(f"image {name} has pixels of 32 bits (mode {image.mode}); convert it to 8 or 16 bits a channel")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        shown = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
        return shown.convert("L") if image.mode in ("L", "LA", "1") else shown
    if image.mode in ("RGB", "L", "CMYK"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _through_profile(pixels: Image.Image, profile: bytes, name: str) -> Image.Image:
    try:
        opened = ImageCms.ImageCmsProfile(BytesIO(profile))
        channels = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}.get(opened.profile.xcolor_space.strip())
        if channels == "RGB" and ImageCms.getProfileDescription(opened).startswith("sRGB"):
            return pixels.convert("RGB")
        if channels == pixels.mode or (channels == "RGB" and pixels.mode == "L"):
            converted = ImageCms.profileToProfile(pixels.convert(channels), opened, ImageCms.createProfile("sRGB"), outputMode="RGB")
            assert converted is not None, "only a conversion in place returns nothing"
            return converted
        reason = f"it is made for {opened.profile.xcolor_space.strip()}, the picture is in mode {pixels.mode}"
    except (OSError, ImageCms.PyCMSError) as error:
        reason = " ".join(str(error).split())
    warnings.warn(f"image {name}: its ICC profile is left aside ({reason})", stacklevel=2)
    return pixels.convert("RGB")
