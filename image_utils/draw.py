"""Show on a picture what belongs to it: regions with outlines and numbers, boxes with captions, a map of heat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from image_utils import palette
from image_utils.convert import check_range

TINT = 0.45
HEAT = 0.6
# From cold to hot; each is brighter than the one before, so that the map can be read in grey too.
HEAT_COLOURS = ((20, 10, 60), (110, 25, 120), (200, 55, 85), (250, 145, 40), (255, 245, 150))


def overlay_regions(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], numbers: bool = True, scale: int = 1
) -> Image.Image:
    """Tint and outline every region but the background, and write its number at a pixel deep inside it.

    Example:
        >>> from PIL import Image
        >>> from image_utils.draw import overlay_regions
        >>> label_map = torch.zeros(48, 64, dtype=torch.int64)
        >>> label_map[8:40, 16:48] = 1
        >>> overlay_regions(Image.new("RGB", (64, 48), "white"), label_map, scale=4).size
        (256, 192)

    Args:
        image: the picture, h high and w wide.
        regions: a label map (0 is the background), or masks (index 0 is the background).
        numbers: whether to write the numbers.
        scale: whole factor by which the picture is enlarged first, so that numbers fit in small pictures.

    Raises:
        ValueError: if the regions have another size than the picture.
    """
    return _show_regions(image, regions, TINT, numbers, scale)


def outline_regions(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], numbers: bool = True, scale: int = 1
) -> Image.Image:
    """Outline and number every region but the background, and leave all else as it is; arguments as for `overlay_regions`.

    Raises:
        ValueError: if the regions have another size than the picture.
    """
    return _show_regions(image, regions, 0.0, numbers, scale)


def overlay_boxes(
    image: Image.Image,
    boxes: Float[Tensor, "n 4"] | Int[Tensor, "n 4"],
    captions: Sequence[str] | None = None,
    scale: int = 1,
) -> Image.Image:
    """Draw the frame of every box, and its caption above it, or inside where there is no room above.

    Args:
        image: the picture.
        boxes: (left, top, right, bottom) in pixels, right and bottom excluded; what lies outside the picture is not drawn.
        captions: one short text a box.
        scale: whole factor by which the picture is enlarged first.

    Raises:
        ValueError: if the captions do not match the boxes, or a box ends before it begins.
    """
    if captions is not None and len(captions) != len(boxes):
        raise ValueError(f"{len(captions)} captions for {len(boxes)} boxes; give one a box")
    shown = image.convert("RGB").resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    pen, thickness = ImageDraw.Draw(shown), _thickness(shown.size)
    font = ImageFont.load_default(size=_font_size(shown.size))
    for index, (box, colour) in enumerate(zip(boxes.tolist(), palette.colours(len(boxes)), strict=True)):
        left, top, right, bottom = (round(edge * scale) for edge in box)
        if not (left < right and top < bottom):
            raise ValueError(f"box {index} is {tuple(box)}, which ends before it begins; give (left, top, right, bottom)")
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=thickness)
        if captions is not None:
            _, _, width, height = pen.textbbox((0, 0), captions[index], font=font)
            x, y = max(0, min(left, shown.width - int(width) - 2)), max(0, top - int(height) - 2 if top > height + 2 else top)
            pen.rectangle((x, y, x + width + 1, y + height + 1), fill=colour)
            pen.text((x + 1, y), captions[index], fill="white", font=font, stroke_width=1, stroke_fill="black")
    return shown


def overlay_heat(image: Image.Image, values: Float[Tensor, "h w"], low: int | float, high: int | float) -> Image.Image:
    """Lay a map of heat over a picture: dark violet for `low`, over red, to light yellow for `high`.

    Args:
        image: the picture; it is shown in grey.
        values: a map of the whole picture, at any size, coarse cells are blended.
        low: coldest value.
        high: hottest value.

    Raises:
        ValueError: if `low` is not below `high`, or a value is not finite or outside; clamp first where that is meant.
    """
    if not low < high:
        raise ValueError(f"low={low} is not below high={high}; give the range that the colours stand for")
    check_range(values, low, high, "values")
    shares = ((values.detach().float().cpu() - low) / (high - low)).clamp(0, 1)
    blended = np.asarray(Image.fromarray(shares.numpy()).resize(image.size, Image.Resampling.BILINEAR))
    stops = np.linspace(0, 1, len(HEAT_COLOURS))
    heat = np.stack([np.interp(blended, stops, channel) for channel in zip(*HEAT_COLOURS, strict=True)], axis=-1)
    grey = np.asarray(image.convert("RGB").convert("L"), dtype=np.float32)[..., None]
    return Image.fromarray(((1 - HEAT) * grey + HEAT * heat).round().astype(np.uint8))


def pixel_inside(mask: Bool[Tensor, "h w"]) -> tuple[int, int]:
    """Return (x, y) of the mask's pixel that lies deepest inside it; the picture's edge counts as outside.

    Example:
        >>> from image_utils.draw import pixel_inside
        >>> mask = torch.zeros(9, 9, dtype=torch.bool)
        >>> mask[1:6, 2:9] = True
        >>> pixel_inside(mask)
        (4, 3)

    Raises:
        ValueError: if the mask is empty.
    """
    if not mask.any():
        raise ValueError("the mask has no pixel, so none lies inside it")
    return _deepest(mask.cpu().numpy())


def _show_regions(
    image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], tint: float, numbers: bool, scale: int
) -> Image.Image:
    masks = _object_masks(regions)
    height, width = regions.shape[-2:]
    if (width, height) != image.size:
        raise ValueError(f"regions are {width}x{height} pixels but the picture is {image.width}x{image.height}; resize one of them")
    shown = image.convert("RGB").resize((width * scale, height * scale), Image.Resampling.NEAREST)
    masks = {number: np.kron(mask, np.ones((scale, scale), dtype=bool)) for number, mask in masks.items()}
    pixels = np.asarray(shown, dtype=np.float32).copy()
    for number, mask in masks.items():
        colour = np.array(palette.colour(number), dtype=np.float32)
        pixels[mask] = (1 - tint) * pixels[mask] + tint * colour
        pixels[_outline(mask, _thickness(shown.size))] = colour
    shown = Image.fromarray(pixels.round().astype(np.uint8))
    if numbers:
        _write_numbers(shown, masks)
    return shown


def _object_masks(regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"]) -> dict[int, np.ndarray]:
    if regions.ndim == 2:
        labels = [int(label) for label in torch.unique(regions) if label > 0]
        return {label: (regions == label).cpu().numpy() for label in labels}
    return {number: mask.cpu().numpy() for number, mask in enumerate(regions) if number > 0 and mask.any()}


def _outline(mask: np.ndarray, thickness: int) -> np.ndarray:
    """Return the mask's pixels that lie less than `thickness` from its outside; the picture's edge counts as outside."""
    inside = mask
    for _ in range(thickness):
        padded = np.pad(inside, 1)
        inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & inside
    return mask & ~inside


def _thickness(size: tuple[int, int]) -> int:
    """Return the width of a line that is still seen when the picture is shown small."""
    return max(1, min(size) // 300)


def _font_size(size: tuple[int, int]) -> int:
    return max(10, min(size) // 18)


def _deepest(mask: np.ndarray) -> tuple[int, int]:
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(x), int(y)


def _write_numbers(image: Image.Image, masks: dict[int, np.ndarray]) -> None:
    font_size = _font_size(image.size)
    font = ImageFont.load_default(size=font_size)
    pen = ImageDraw.Draw(image)
    for number, mask in masks.items():
        x, y = _deepest(mask)
        pen.text((x, y), str(number), fill="white", font=font, anchor="mm", stroke_width=max(1, font_size // 8), stroke_fill="black")
