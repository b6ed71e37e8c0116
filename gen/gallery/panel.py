"""A panel: one sheet of pictures that answers one question about a pipeline, with what was measured on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from gen.editing.framing import unframe_masks
from gen.editing.latent_image import LatentImage
from image_utils.draw import outline_regions
from image_utils.geometry import fitted_size
from image_utils.grid import image_grid

SHOWN_SIDE = 128  # pixels, of the longer side of one picture on a sheet
SMALLEST, LARGEST = 0.004, 0.15  # of the square: less is a speck, more has little room to move


class NothingToShowError(ValueError):
    """A picture that has not the objects that a panel needs; the message says which."""


@dataclass(frozen=True)
class Panel:
    """A sheet, its figures, and an animation where there is one.

    Attributes:
        image: the sheet.
        figures: what was measured, by name; the unit is part of the name.
        frames: of the animation, all of one size; empty for none.
        table: rows of figures behind the sheet, such as one a position; empty for none.
    """

    image: Image.Image
    figures: dict[str, float] = field(default_factory=dict)
    frames: list[Image.Image] = field(default_factory=list)
    table: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How a panel's pictures are painted.

    Attributes:
        num_inference_steps: of the sampler, at least 1.
        guidance_scale: 1 is no guidance.
        seed: of the noise, the same in every picture of a panel.
    """

    num_inference_steps: int = 4
    guidance_scale: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_inference_steps < 1 or self.guidance_scale < 0 or self.seed < 0:
            raise ValueError(f"{self} is out of range; num_inference_steps must be at least 1, guidance_scale and seed at least 0")


def subject(picture: LatentImage) -> int:
    """Return the object that shows an edit best: neither a speck nor so large that it cannot move, with the most room on all sides.

    Example:
        >>> from gen.gallery.panel import subject
        >>> subject(picture)
        4

    Raises:
        NothingToShowError: if the picture has no object.
    """
    if not picture.objects:
        raise NothingToShowError("the picture has no object to show an edit of; give it regions, by a mask beside it or another segmenter")
    extent = torch.tensor(framed(picture))
    boxes, areas = picture.regions.boxes()[0], picture.regions.areas()[0]
    room = torch.cat([boxes[:, :2], extent - boxes[:, 2:]], 1).amin(1)
    return max(picture.objects, key=lambda k: (bool(SMALLEST < areas[k] < LARGEST), float(room[k])))


def outlined(picture: LatentImage, *regions: int, side: int = SHOWN_SIDE) -> Image.Image:
    """Return the picture as `shown`, with the outlines and numbers of some of its regions."""
    image = shown(picture.image, side)
    masks = unframe_masks(picture.regions.masks[0], image.size)
    masks[[number for number in range(len(masks)) if number not in regions]] = False
    return outline_regions(image, masks)


def within_picture(picture: LatentImage, values: Shaped[Tensor, "*n r r"]) -> Shaped[Tensor, "*n h w"]:
    """Return the part of maps of the pipeline's square that shows the picture, at the square's scale."""
    width, height = fitted_size(*picture.image.size, values.shape[-1])
    return values[..., :height, :width]


def framed(picture: LatentImage) -> tuple[float, float]:
    """Return the picture's (width, height) in the pipeline's square, as shares of its side: the longer one is 1."""
    width, height = fitted_size(*picture.image.size, picture.pipeline.resolution)
    return width / picture.pipeline.resolution, height / picture.pipeline.resolution


def shown(image: Image.Image, side: int = SHOWN_SIDE) -> Image.Image:
    """Return a picture as it is put on a sheet: small ones are enlarged by a whole factor, with their pixels seen, large ones shrunk."""
    if max(image.size) > side:
        return image.resize(fitted_size(*image.size, side), Image.Resampling.LANCZOS)
    factor = side // max(image.size)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def stacked(panels: Sequence[Panel]) -> Panel:
    """Put the panels of several pictures under one another.

    Args:
        panels: at least one.

    Returns:
        A panel with the means of those figures that all of them have, all rows of their tables, and the frames of the first.
    """
    names = [name for name in panels[0].figures if all(name in panel.figures for panel in panels)]
    means = {name: sum(panel.figures[name] for panel in panels) / len(panels) for name in names}
    sheet = panels[0].image if len(panels) == 1 else image_grid([[panel.image] for panel in panels])
    return Panel(sheet, means, panels[0].frames, [row for panel in panels for row in panel.table])
