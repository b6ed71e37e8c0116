"""Crop, resize and pad pictures, label maps and masks in one geometry.

Boxes are (left, top, right, bottom) in whole pixels, right and bottom excluded; sizes are (width, height), as Pillow has them. The
centre of output pixel i lies at left + (i + 1/2) * (right - left) / width of the picture: pictures are averaged around that point, label
maps and masks take the pixel that holds it (the right or lower one where it lies between two).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

Size = tuple[int, int]
Box = tuple[int, int, int, int]

# Pillow would take single pixels of the other modes, or mix palette indices.
SMOOTH_MODES = ("RGB", "L", "RGBA", "LA", "F")


def centre_square(width: int, height: int) -> Box:
    """Return the box of the largest square in the middle; an odd pixel too many is cut at the right or at the bottom.

    Example:
        >>> from image_utils.geometry import centre_square
        >>> centre_square(7, 4)
        (1, 0, 5, 4)
    """
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def fitted_size(width: int, height: int, side: int) -> Size:
    """Return the size of a picture whose longer side becomes `side`, proportions kept, no side below one pixel.

    Example:
        >>> from image_utils.geometry import fitted_size
        >>> fitted_size(640, 480, side=64)
        (64, 48)
    """
    longer = max(width, height)
    return max(1, round(width * side / longer)), max(1, round(height * side / longer))


def resize_image(image: Image.Image, size: Size, box: Box | None = None) -> Image.Image:
    """Resample a picture, or the part of it in a box, with Lanczos' filter widened for reduction, so that nothing aliases.

    Args:
        image: in one of `SMOOTH_MODES`.
        size: (width, height) of the result.
        box: part of the picture; None takes all of it. Pixels outside have no influence.

    Raises:
        ValueError: if the mode has no colours to average, the size is not positive, or the box is empty or leaves the picture.
    """
    if image.mode not in SMOOTH_MODES:
        raise ValueError(f"pixels of a picture in mode {image.mode} cannot be averaged; convert it first, with image.convert('RGB')")
    return image.resize(size, Image.Resampling.LANCZOS, box=_checked_box(image.size, size, box))


def resize_label_map(
    regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], size: Size, box: Box | None = None
) -> Int[Tensor, "h2 w2"] | Bool[Tensor, "n h2 w2"]:
    """Resample a label map or masks, or the part of them in a box, by taking the nearest pixel, in the geometry of `resize_image`.

    Args:
        regions: labels or masks of a picture.
        size: (width, height) of the result.
        box: as in `resize_image`.

    Returns:
        Regions of that size; a region too small for any pixel centre is gone.

    Raises:
        ValueError: if the size is not positive, or the box is empty or leaves the picture.
    """
    height, width = regions.shape[-2:]
    left, top, right, bottom = _checked_box((width, height), size, box)
    columns = left + _nearest(right - left, size[0], regions.device)
    rows = top + _nearest(bottom - top, size[1], regions.device)
    return regions[..., rows[:, None], columns]


def crop_to_square(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], side: int
) -> tuple[Image.Image, Int[Tensor, "h2 w2"] | Bool[Tensor, "n h2 w2"]]:
    """Return the square in the middle of a picture and of its regions, resized to `side`.

    Raises:
        ValueError: if the regions have another size than the picture, or as `resize_image` does.
    """
    _check_same_size(image, regions)
    box = centre_square(*image.size)
    return resize_image(image, (side, side), box), resize_label_map(regions, (side, side), box)


def fit_longer_side(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], side: int
) -> tuple[Image.Image, Int[Tensor, "h2 w2"] | Bool[Tensor, "n h2 w2"]]:
    """Return the whole picture and its regions, resized so that the longer side is `side`.

    Raises:
        ValueError: if the regions have another size than the picture, or as `resize_image` does.
    """
    _check_same_size(image, regions)
    size = fitted_size(*image.size, side)
    return resize_image(image, size), resize_label_map(regions, size)


def pad_to_square(pixel_values: Float[Tensor, "c h w"], side: int) -> tuple[Float[Tensor, "c s s"], Bool[Tensor, "s s"]]:
    """Put a picture in the top left corner of a square and repeat its last column and row over the rest.

    Example:
        >>> from image_utils.geometry import pad_to_square
        >>> square, padding = pad_to_square(torch.zeros(3, 48, 64), side=64)
        >>> square.shape, int(padding.sum())
        (torch.Size([3, 64, 64]), 1024)

    Args:
        pixel_values: no side longer than `side`.
        side: of the square.

    Returns:
        The square, and its padding: True where the picture is not.

    Raises:
        ValueError: if the picture is empty or does not fit.
    """
    height, width = pixel_values.shape[-2:]
    if not (0 < width <= side and 0 < height <= side):
        raise ValueError(f"a picture of {width}x{height} pixels does not fit in a square of side {side}; resize it to fitted_size first")
    padding = torch.ones(side, side, dtype=torch.bool, device=pixel_values.device)
    padding[:height, :width] = False
    return F.pad(pixel_values[None], (0, side - width, 0, side - height), mode="replicate")[0], padding


def _nearest(span: int, count: int, device: torch.device) -> Int[Tensor, "count"]:
    """Return the pixel of `span` that holds the centre of each of `count` equal parts, in whole numbers, so without rounding errors."""
    return (2 * torch.arange(count, device=device) + 1) * span // (2 * count)


def _checked_box(of: Size, size: Size, box: Box | None) -> Box:
    if min(size) < 1:
        raise ValueError(f"a picture of {size[0]}x{size[1]} pixels is no picture; ask for at least one pixel a side")
    left, top, right, bottom = box if box is not None else (0, 0, *of)
    if not (0 <= left < right <= of[0] and 0 <= top < bottom <= of[1]):
        raise ValueError(f"box {(left, top, right, bottom)} is empty or leaves the picture of {of[0]}x{of[1]} pixels; cut it at the edges")
    return left, top, right, bottom


def _check_same_size(image: Image.Image, regions: Tensor) -> None:
    height, width = regions.shape[-2:]
    if (width, height) != image.size:
        raise ValueError(f"regions are {width}x{height} pixels but the picture is {image.width}x{image.height}; resize one of them")
