"""Show regions on a picture: a tint, an outline and a number for each."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from image_utils.palette import colours

TINT = 0.45


def overlay_regions(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], numbers: bool = True, scale: int = 1
) -> Image.Image:
    """Tint and outline every region but the background, and write its number at a pixel deep inside it.

    Args:
        image: the picture, h high and w wide.
        regions: a label map (0 is the background), or masks (index 0 is the background).
        numbers: whether to write the numbers.
        scale: whole factor by which the picture is enlarged first, so that numbers fit in small pictures.

    Raises:
        ValueError: if the regions have another size than the picture.
    """
    masks = _object_masks(regions)
    height, width = regions.shape[-2:]
    if (width, height) != image.size:
        raise ValueError(f"regions are {width}x{height} pixels but the picture is {image.width}x{image.height}; resize one of them")
    shown = image.convert("RGB").resize((width * scale, height * scale), Image.Resampling.NEAREST)
    masks = {number: np.kron(mask, np.ones((scale, scale), dtype=bool)) for number, mask in masks.items()}
    tints = colours(max(masks, default=0) + 1)
    pixels = np.asarray(shown, dtype=np.float32).copy()
    for number, mask in masks.items():
        colour = np.array(tints[number], dtype=np.float32)
        pixels[mask] = (1 - TINT) * pixels[mask] + TINT * colour
        pixels[_outline(mask)] = colour
    shown = Image.fromarray(pixels.round().astype(np.uint8))
    if numbers:
        _write_numbers(shown, masks)
    return shown


def pixel_inside(mask: Bool[Tensor, "h w"]) -> tuple[int, int]:
    """Return (x, y) of the mask's pixel that lies deepest inside it; the picture's edge counts as outside.

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask has no pixel, so none lies inside it")
    return _deepest(mask.cpu().numpy())


def _object_masks(regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"]) -> dict[int, np.ndarray]:
    if regions.ndim == 2:
        labels = [int(label) for label in torch.unique(regions) if label > 0]
        return {label: (regions == label).cpu().numpy() for label in labels}
    return {number: mask.cpu().numpy() for number, mask in enumerate(regions) if number > 0 and mask.any()}


def _outline(mask: np.ndarray) -> np.ndarray:
    """Return the mask's pixels that touch its outside."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _deepest(mask: np.ndarray) -> tuple[int, int]:
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def _write_numbers(image: Image.Image, masks: dict[int, np.ndarray]) -> None:
    font_size = max(10, min(image.size) // 18)
    font = ImageFont.load_default(size=font_size)
    pen = ImageDraw.Draw(image)
    for number, mask in masks.items():
        x, y = _deepest(mask)
        pen.text((x, y), str(number), fill="white", font=font, anchor="mm", stroke_width=max(1, font_size // 8), stroke_fill="black")
