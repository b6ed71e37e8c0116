"""Augmented views: what the loss asks: the source view's tokens, painted at the target view's poses, shall give the target view."""

from __future__ import annotations

import math
import random

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from gen.data.augment import Augmentation, ViewTransform
from gen.data.batch import RegionBatch, View
from gen.data.item import Item
from gen.data.region_data import RegionData
from gen.editing.framing import unframe_masks
from gen.editing.latent_image import LatentImage
from gen.evaluation.image_metrics import psnr
from gen.gallery.panel import Panel, Sampling, framed, shown
from gen.gallery.seen import over_checkerboard
from gen.gallery.unchanged import HEAT_SCALE, difference_map
from gen.models.text_encoder import caption_of_present
from gen.regions import RegionLatents
from image_utils.convert import to_pil
from image_utils.draw import outline_regions
from image_utils.geometry import fitted_size
from image_utils.grid import image_grid

ALWAYS = Augmentation(probability=1.0)


@torch.no_grad()
def augmented_views(
    picture: LatentImage,
    source: Augmentation = ALWAYS,
    target: Augmentation = ALWAYS,
    num_draws: int = 3,
    sampling: Sampling = Sampling(),  # noqa: B008 (frozen)
) -> Panel:
    """Draw pairs of views of a picture as training does, and paint each target view from its source view's tokens, with no surroundings.

    The views, their regions and the target's poses come from the code that makes a training batch (`RegionData.collate`). Of a
    picture that is not square, what lies beyond its edge is checkered, and not counted.

    Args:
        picture: its regions are the segmentation.
        source: how the view that is encoded is drawn.
        target: how the view that is painted is drawn.
        num_draws: pairs; one row each.
        sampling: how it is painted; the draws, too, follow from its seed.

    Returns:
        The sheet, and one row of figures a pair. A region that is cut off in one of the views is not painted. Of a long thin picture a
        view may show nothing: its figure is NaN, and not in the mean.

    Raises:
        ValueError: if no pair is to be drawn.
    """
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws} of augmented views: draw at least one pair")
    generator = random.Random(sampling.seed)
    sources, targets = zip(*((source.draw(generator), target.draw(generator)) for _ in range(num_draws)), strict=True)
    batch = _batch(picture, list(sources), list(targets))
    painted = _painted(picture, batch, sampling).cpu()
    within_source, within = _inside(picture, batch.source), _inside(picture, batch.target)
    found = psnr(painted, batch.target.pixel_values, within).tolist()
    rows = []
    for i in range(num_draws):
        result = to_pil(painted[i])
        cells = [shown(result), shown(difference_map(to_pil(batch.target.pixel_values[i]), result))]
        views = [over_checkerboard(image, within[i].float()) for image in (_outlined(batch.target, i), *cells)]
        rows.append([over_checkerboard(_outlined(batch.source, i), within_source[i].float()), *views])
    known = [value for value in found if not math.isnan(value)]
    said = ["nothing of the picture" if math.isnan(value) else f"{value:.1f} dB" for value in found]
    texts = [[_told(sources[i]), _told(targets[i]), said[i], ""] for i in range(num_draws)]
    title = f"the source view's tokens at the target's poses: PSNR to the target view; difference {HEAT_SCALE}"
    sheet = image_grid(rows, None, ["source view", "target view", "painted", "difference"], captions=texts, title=title)
    figures = {"psnr_of_target_view_db": sum(known) / len(known)} if known else {}
    return Panel(sheet, figures, table=[{"psnr_of_target_view_db": value} for value in found])


def _batch(picture: LatentImage, sources: list[ViewTransform], targets: list[ViewTransform]) -> RegionBatch:
    """Return the batch that training would make of the picture, seen through each pair of transforms."""
    side, masks = picture.pipeline.resolution, picture.regions.masks[0].cpu()
    width, height = fitted_size(*picture.image.size, side)
    padding = torch.ones(side, side, dtype=torch.bool)
    padding[:height, :width] = False
    item = Item(picture.pixel_values[0], caption=picture.caption, padding=padding if padding.any() else None)
    data = RegionData(resolution=side, num_regions=len(masks), segmenter=lambda pixel_values, label_map=None: masks)
    return data.collate([item] * len(sources), sources, targets, list(range(len(sources))))


def _painted(picture: LatentImage, batch: RegionBatch, sampling: Sampling) -> Float[Tensor, "b 3 r r"]:
    """Paint every pair's target view from its source view; regions that either view has lost are left out, as in training."""
    pipeline = picture.pipeline
    source, target = batch.source.to(pipeline.device), batch.target.to(pipeline.device)
    tokens = pipeline.region_encoder(source.pixel_values, source.regions, None, source.coordinates)
    latents = RegionLatents(tokens, target.pose, source.regions.valid & target.regions.valid)
    return pipeline.decode(
        latents,
        prompt=[caption_of_present(caption, row) for caption, row in zip(batch.captions, latents.valid.tolist(), strict=True)],
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        generator=[torch.Generator().manual_seed(sampling.seed) for _ in range(len(batch))],
    )


def _inside(picture: LatentImage, view: View) -> Bool[Tensor, "b r r"]:
    """Mark the pixels of a view that show a place of the picture, not of the rest of its square."""
    right, bottom = framed(picture)
    return (view.coordinates[:, 0] < 2 * right - 1) & (view.coordinates[:, 1] < 2 * bottom - 1)


def _outlined(view: View, index: int) -> Image.Image:
    image = shown(to_pil(view.pixel_values[index]))
    return outline_regions(image, unframe_masks(view.regions.masks[index], image.size))


def _told(transform: ViewTransform) -> str:
    """Say how a view was drawn: how much it is enlarged, how far it is turned, and whether it is mirrored."""
    return f"{1 / transform.scale:.2f} x, {transform.degrees:+.0f}°{', mirrored' if transform.flip else ''}"
