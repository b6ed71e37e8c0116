"""Attention maps: which regions the decoder's cells look at while they paint."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from gen.editing.latent_image import LatentImage
from gen.gallery.panel import Panel, Sampling, outlined, shown, within_picture
from gen.losses import attention_region_loss
from gen.models.text_encoder import caption_of_present
from gen.regions import RegionLatents
from image_utils.draw import overlay_heat
from image_utils.geometry import fitted_size
from image_utils.grid import image_grid

HOTTEST = 2  # times a map's mean


def decoder_attention(
    picture: LatentImage,
    latents: RegionLatents | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> Float[Tensor, "n r r"]:
    """Return how much of its attention each place gives to each region, averaged over heads, layers and the sampler's steps.

    The latents alone are painted, with nothing around them. What the shares lack to 1 goes to tokens of no region: registers, camera, text.
    Where regions come in through gates beside the text, the regions have the whole of it.

    Args:
        picture: gives the pipeline and the caption.
        latents: what is painted; None for the picture's own.
        sampling: how.

    Returns:
        Shares in [0, 1] over the pipeline's square, blended between the cells of each layer.
    """
    return _shares(picture, *_recorded(picture, picture.latents if latents is None else latents, sampling))


def attention_maps(picture: LatentImage, sampling: Sampling = Sampling()) -> Panel:  # noqa: B008 (frozen)
    """Show from where each region is looked at, and measure how much of that comes from its own place.

    Its own place is every cell of a layer in which one of its pixels lies. Attention that is the same everywhere comes from there as often
    as such cells are among all: that is the chance beside the figure. A decoder that is told by a layout where things go need not be better
    than chance.

    Returns:
        The sheet, where all maps have one scale; a row of figures a region, the background first; means over the objects. What is not
        there, background or objects, has no map and no figures.
    """
    layers, token_region = _recorded(picture, picture.latents, sampling)
    shares = within_picture(picture, _shares(picture, layers, token_region))
    regions = [0, *picture.objects] if picture.latents.valid[0, 0] else picture.objects
    table = []
    for region in regions:
        own = [100 * _in_own_place(picture, region, layer, token_region) for layer in layers]
        chance = [100 * _in_own_place(picture, region, torch.ones_like(layer), token_region) for layer in layers]
        of_all = 100 * float(shares[region].mean())
        table.append(
            {"region": float(region), "attention_percent": of_all, "in_place_percent": _mean(own), "chance_percent": _mean(chance)}
        )
    maps = [*shares[regions], (1 - shares.sum(0)).clamp(0, 1)]
    labels = [*(f"region {region}" if region else "background" for region in regions), "no region"]
    captions = [
        f"in its place {row['in_place_percent']:.0f} %\nby chance {row['chance_percent']:.0f} %\nof all {row['attention_percent']:.0f} %"
        for row in table
    ]
    sheet = image_grid(
        [[outlined(picture, *picture.objects), *(_heat(picture, each) for each in maps)]],
        column_labels=["regions", *labels],
        captions=[["", *captions, f"of all {100 * float(maps[-1].mean()):.0f} %"]],
        title=f"attention to each region, from none (dark) to {HOTTEST} times its mean (light)",
    )
    names = ("in_place_percent", "chance_percent") if picture.objects else ()
    return Panel(sheet, {f"attention_{name}": _mean([row[name] for row in table if row["region"]]) for name in names}, table=table)


def _recorded(picture: LatentImage, latents: RegionLatents, sampling: Sampling) -> tuple[list[Float[Tensor, "1 _ l"]], Int[Tensor, " l"]]:
    """Paint latents; return the attention of every layer in every step, and the region that each token belongs to."""
    layers: list[Tensor] = []
    prompt = [caption_of_present(picture.caption, latents.valid[0].tolist())]
    picture.pipeline.decode(
        latents,
        prompt=prompt,
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        generator=torch.Generator().manual_seed(sampling.seed),
        attention_maps=layers,
    )
    return [layer.cpu() for layer in layers], picture.pipeline.condition(latents, prompt).token_region.cpu()


def _shares(picture: LatentImage, layers: list[Float[Tensor, "1 _ l"]], token_region: Int[Tensor, " l"]) -> Float[Tensor, "n r r"]:
    owner = (token_region[:, None] == torch.arange(picture.latents.valid.shape[1])).float()
    side = (picture.pipeline.resolution, picture.pipeline.resolution)
    grids = [(layer @ owner).mT.unflatten(-1, (math.isqrt(layer.shape[1]), -1)) for layer in layers]
    return torch.cat([F.interpolate(grid, side, mode="bilinear", align_corners=False) for grid in grids]).mean(0)


def _in_own_place(picture: LatentImage, region: int, attention: Float[Tensor, "1 p l"], token_region: Int[Tensor, " l"]) -> float:
    """Return the share of a region's attention from cells in which its pixels lie; cells wholly beyond the picture do not count."""
    masks = picture.regions.masks
    cell = masks.shape[-1] // math.isqrt(attention.shape[1])
    counted = torch.arange(masks.shape[1])[None] == region
    beyond = torch.ones_like(masks[:, 0])
    width, height = fitted_size(*picture.image.size, masks.shape[-1])
    beyond[:, : math.ceil(height / cell) * cell, : math.ceil(width / cell) * cell] = False
    return 1 - float(attention_region_loss(attention, token_region, masks, counted, beyond))


def _heat(picture: LatentImage, shares: Float[Tensor, "h w"]) -> Image.Image:
    multiples = shares / shares.mean().clamp_min(1e-6)
    return overlay_heat(shown(picture.image), multiples.clamp(max=HOTTEST), 0.0, HOTTEST)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
