"""What a pipeline sees and paints, as pictures for a sheet: cut out of its square, regions numbered, what is not there checkered."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from gen.editing.framing import unframe_mask, unframe_masks
from gen.editing.latent_image import LatentImage
from gen.gallery.panel import shown, within_picture
from gen.regions import Regions
from image_utils.convert import to_pil
from image_utils.draw import overlay_regions

CHECK = 8  # pixels a side of the fields of a checkerboard
GREYS = (150, 190)  # of its fields


def as_pictures(picture: LatentImage, pixel_values: Float[Tensor, "b 3 r r"]) -> list[Image.Image]:
    """Return pictures of the pipeline's square, at its resolution, without what lies beyond the picture's edge."""
    return [to_pil(pixels) for pixels in within_picture(picture, pixel_values)]


def numbered(picture: LatentImage, regions: Regions | None = None) -> Image.Image:
    """Return the picture as it stands on a sheet with some or all of its regions tinted, outlined and numbered."""
    image = shown(picture.image)
    return overlay_regions(image, unframe_masks((regions or picture.regions).masks[0], image.size))


def without(picture: LatentImage, gone: Bool[Tensor, "r r"]) -> Image.Image:
    """Return the picture as it stands on a sheet, checkered where pixels of the square are gone."""
    image = shown(picture.image)
    return over_checkerboard(image, unframe_mask(~gone, image.size).float())


def over_checkerboard(image: Image.Image, opacity: Float[Tensor, "h w"]) -> Image.Image:
    """Lay a picture over a checkerboard.

    Args:
        image: RGB.
        opacity: of its pixels, in [0, 1], at any size; 1 hides the board.
    """
    columns, rows = (torch.arange(side) // CHECK for side in image.size)
    board = torch.where((rows[:, None] + columns) % 2 == 0, *GREYS).byte()
    shares = Image.fromarray((255 * opacity).round().byte().cpu().numpy()).resize(image.size, Image.Resampling.NEAREST)
    return Image.composite(image, Image.fromarray(board.numpy()).convert("RGB"), shares)
