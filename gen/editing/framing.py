"""A picture of any size in a pipeline's square, and the square's changed part back in the picture.

The picture keeps its proportions, so that turns stay turns: its longer side fills the square, it sits in the square's top left
corner, and its last row or column is repeated over the rest. Positions are therefore shares of the longer side, counted from the top
left. In shapes, r is the square's side; h and w are the picture's.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from gen.editing.preserve import feather_weights
from gen.regions import Regions
from image_utils.convert import to_pil, to_tensor
from image_utils.geometry import fitted_size, pad_to_square


def frame_image(image: Image.Image, resolution: int) -> Float[Tensor, "1 3 r r"]:
    """Return the square that the pipeline sees, in [-1, 1]; a square picture of that size is not resampled."""
    pixel_values = to_tensor(image.resize(fitted_size(*image.size, resolution), Image.Resampling.BICUBIC))
    return pad_to_square(pixel_values, resolution)[0][None]


def frame_regions(regions: Regions | Int[Tensor, "h w"], resolution: int, num_regions: int) -> Regions:
    """Return the regions in the square; what lies beyond the picture is background.

    A pixel of the square belongs to a region that covers at least half of it; a region too small for that keeps every pixel it touches.

    Args:
        regions: a label map, or masks of one picture, as large as the picture.
        resolution: side of the square.
        num_regions: n of the result, background included; the slots beyond the picture's regions are free.

    Raises:
        ValueError: if the picture has more regions than `num_regions`.
    """
    planes = _planes(regions, num_regions)
    height, width = regions.shape if isinstance(regions, Tensor) else regions.masks.shape[-2:]
    width, height = fitted_size(width, height, resolution)
    masks = torch.zeros(1, num_regions, resolution, resolution, dtype=torch.bool)
    masks[:, 0] = True
    masks[0, 0, :height, :width] = False
    for number, plane in planes.items():
        cover = F.adaptive_avg_pool2d(plane[None, None].float(), (height, width))[0, 0]
        mask = cover >= 0.5
        masks[0, number, :height, :width] |= mask if mask.any() else cover > 0
    return Regions(masks, masks.flatten(2).any(-1))


def paste_changed(image: Image.Image, edited: Float[Tensor, "3 r r"], changed: Bool[Tensor, "r r"] | None) -> Image.Image:
    """Put the square's changed part into the picture at full size; every other pixel is the picture's, bit for bit.

    Args:
        image: the picture.
        edited: the square, in [-1, 1].
        changed: of the square; None takes all of the edited picture.
    """
    width, height = fitted_size(*image.size, edited.shape[-1])
    painted = to_pil(edited[:, :height, :width]).resize(image.size, Image.Resampling.BICUBIC)
    if changed is None:
        return painted
    weights = feather_weights(changed[None])[0, :height, :width].cpu()
    share = Image.fromarray((weights * 255).round().byte().numpy()).resize(image.size, Image.Resampling.BILINEAR)
    allowed = Image.fromarray(unframe_mask(changed, image.size).numpy())
    return Image.composite(painted, image, Image.composite(share, Image.new("L", image.size), allowed))


def unframe_mask(mask: Bool[Tensor, "r r"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """Return a mask of the square at the picture's own (width, height)."""
    width, height = fitted_size(*size, mask.shape[-1])
    part = Image.fromarray(mask[:height, :width].cpu().numpy()).resize(size, Image.Resampling.NEAREST)
    return torch.from_numpy(np.array(part))


def unframe_masks(masks: Bool[Tensor, "n r r"], size: tuple[int, int]) -> Bool[Tensor, "n h w"]:
    """Return masks of the square at the picture's own (width, height)."""
    return torch.stack([unframe_mask(mask, size) for mask in masks])


def _planes(regions: Regions | Int[Tensor, "h w"], num_regions: int) -> dict[int, Bool[Tensor, "h w"]]:
    if isinstance(regions, Tensor):
        planes = {int(number): regions == number for number in torch.unique(regions)}
    else:
        assert regions.masks.shape[0] == 1, "regions of one picture"
        planes = {number: regions.masks[0, number] for number in regions.valid[0].nonzero()[:, 0].tolist()}
    if any(not 0 <= number < num_regions for number in planes):
        raise ValueError(
            f"the picture's regions are numbered {min(planes)}..{max(planes)}, but the pipeline holds the background 0 and objects "
            f"1..{num_regions - 1}; merge some regions, number them anew, or train with a larger num_regions"
        )
    return {number: plane.cpu() for number, plane in planes.items()}
