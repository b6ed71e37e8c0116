"""Token saliency: which pixels a region's tokens are made from, whatever the encoder."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.gallery.panel import Panel, outlined, shown, subject, within_picture
from image_utils.draw import overlay_heat
from image_utils.geometry import fitted_size
from image_utils.grid import image_grid

SIDE = 256  # pixels, of the longer side of a picture on the sheet
CLOSE = 4 * SIDE  # of the picture from which each token's surroundings are cut
MARGIN = 0.25  # of a region's larger side, around it where its tokens are shown one by one


@torch.enable_grad()
def token_saliency(picture: LatentImage, region: int, num_probes: int = 8) -> Float[Tensor, "q r r"]:
    """Return how much the encoder's tokens of a region change with each pixel: the norm of each one's derivative, all channels together.

    That answers what a token looks at for encoders with attention and without alike, and nothing that reaches a token is missed. The
    squared norm is the mean over random signs v of (v J)^2, with J the derivative: an estimate, but its zeros are exact, and the same
    call gives the same.

    Args:
        picture: at its pipeline's resolution, r pixels a side.
        region: an object, or 0 for the background.
        num_probes: draws of signs; a pixel's value is off by about 1 / sqrt(2 num_probes), less where many channels tell different things.

    Raises:
        ValueError: if the region is not there.

    Source: the trace of J J^T by random signs, Hutchinson 1990.
    """
    present = [0, *picture.objects]
    if region not in present:
        raise ValueError(f"region {region} is not in the picture; choose one of {', '.join(map(str, present))}")
    pipeline = picture.pipeline
    pixel_values = picture.pixel_values.to(pipeline.device).expand(num_probes, -1, -1, -1).clone().requires_grad_()
    regions = picture.regions.to(pipeline.device)[[0] * num_probes]
    tokens = pipeline.region_encoder(pixel_values, regions)[:, region]
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, tokens.shape, generator=generator).to(tokens) * 2 - 1
    squares = []
    for token in range(tokens.shape[1]):
        told = (tokens[:, token] * signs[:, token]).sum()
        (slope,) = torch.autograd.grad(told, pixel_values, retain_graph=True, materialize_grads=True)
        squares.append(slope.square().sum(1).mean(0))
    return torch.stack(squares).sqrt().cpu()


def saliency_maps(picture: LatentImage, region: int | None = None) -> Panel:
    """Show what all tokens of a region look at together, and each of them alone, these in one scale.

    Args:
        picture: with at least one object.
        region: which; None for the one that shows an edit best.

    Returns:
        The sheet; how much of the saliency lies in the region's own mask, beside the mask's share of the picture.

    Raises:
        ValueError: if the region is not there.
    """
    region = subject(picture) if region is None else region
    tokens = within_picture(picture, token_saliency(picture, region))
    together, own = tokens.square().sum(0).sqrt(), within_picture(picture, picture.regions.masks[0, region])
    inside = 100 * float(together[own].sum() / together.sum().clamp_min(1e-9))
    area = 100 * float(own.float().mean())
    image = shown(picture.image, CLOSE) if max(picture.image.size) > CLOSE else picture.image
    box = _surroundings(picture, region, image.size)
    parts = [_heat(image, token, float(tokens.max())).crop(box) for token in tokens]
    columns = math.ceil(math.sqrt(len(parts)))
    size = fitted_size(*parts[0].size, SIDE // columns)
    cells = [part.resize(size, Image.Resampling.BICUBIC) for part in parts]
    pictures = [
        outlined(picture, region, side=SIDE),
        shown(_heat(image, together, float(together.max())), SIDE),
        image_grid([cells[k : k + columns] for k in range(0, len(cells), columns)]),
    ]
    labels = ["the region", f"what its {len(parts)} tokens look at", "each token alone"]
    said = f"{inside:.0f} % in its own mask, which is {area:.0f} % of the picture"
    title = "how much the tokens change with each pixel, from nothing (dark) to the most that is found (light)"
    sheet = image_grid([pictures], column_labels=labels, captions=[["", said, ""]], title=title)
    return Panel(sheet, {"saliency_in_own_mask_percent": inside, "area_of_own_mask_percent": area})


def _surroundings(picture: LatentImage, region: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the box of a region and of what is near it, in pixels of the picture at that (width, height)."""
    left, top, right, bottom = (picture.regions.boxes()[0, region] * max(size)).tolist()
    margin = MARGIN * max(right - left, bottom - top)
    width, height = size
    box = max(0, left - margin), max(0, top - margin), min(width, right + margin), min(height, bottom + margin)
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def _heat(image: Image.Image, values: Float[Tensor, "h w"], high: float) -> Image.Image:
    return overlay_heat(image, values, 0.0, max(high, 1e-9))
