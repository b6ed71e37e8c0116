"""The validation pictures: what a batch looks like when encoded, painted back, and edited once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from PIL.Image import Image
from torch import Tensor

from gen.models.text_encoder import split_prompt
from gen.regions import RegionLatents
from image_utils import convert, draw, grid

if TYPE_CHECKING:
    from gen.data.batch import RegionBatch
    from gen.models.pipeline import RegionPipeline


def preview_pictures(pipeline: RegionPipeline, batch: RegionBatch, num_inference_steps: int) -> dict[str, Image]:
    """Return one sheet: a row a sample, with source, regions, reconstructions, one move and one removal.

    The first object is moved towards the picture's centre line or away from it; the last object is removed.
    """
    source = batch.source
    latents = pipeline.encode(source.pixel_values, source.regions)
    first, last = torch.ones_like(source.regions.valid[:, 0]).long(), source.regions.valid.long().sum(1) - 1
    rows = torch.arange(len(batch), device=last.device)
    centre = latents.pose.centre.clone()
    centre[rows, first, 0] = (centre[rows, first, 0] + 0.5) % 1.0 * 0.7 + 0.15
    moved = replace(latents, pose=replace(latents.pose, centre=centre))
    valid = latents.valid.clone()
    valid[rows, last.clamp_min(1)] = False
    removed = replace(latents, valid=valid)
    columns = {
        "source": source.pixel_values,
        "reconstruction": _paint(pipeline, latents, batch, None, num_inference_steps),
        "move": _paint(pipeline, moved, batch, _boxes(latents, moved, batch), num_inference_steps),
        "removal": _paint(pipeline, removed, batch, _boxes(latents, removed, batch), num_inference_steps),
    }
    pictures = {name: [convert.to_pil(picture.cpu()) for picture in value] for name, value in columns.items()}
    labels = source.regions.label_map().cpu()
    pictures["regions"] = [draw.overlay_regions(picture, labels[i]) for i, picture in enumerate(pictures["source"])]
    order = ("source", "regions", "reconstruction", "move", "removal")
    table = [[pictures[name][i] for name in order] for i in range(len(batch))]
    return {"edits": grid.image_grid(table, column_labels=list(order), scale=2)}


def _paint(
    pipeline: RegionPipeline, latents: RegionLatents, batch: RegionBatch, changed: Bool[Tensor, "b h w"] | None, steps: int
) -> Tensor:
    context = None if changed is None else pipeline.surroundings(batch.source.pixel_values, changed)
    control = batch.control if pipeline.controlnet is not None and changed is None else None  # it shows the unedited picture
    generator = torch.Generator().manual_seed(0)
    prompt = [_of_present(text, present) for text, present in zip(batch.captions, latents.valid.tolist(), strict=True)]
    return pipeline.decode(latents, prompt=prompt, context=context, control=control, num_inference_steps=steps, generator=generator)


def _of_present(caption: str, present: list[bool]) -> str:
    """Leave out of a caption the placeholders of regions that are not there: a preview shall not end a training."""
    pieces = split_prompt(caption)
    kept = [piece for piece in pieces if isinstance(piece, str) or (piece < len(present) and present[piece])]
    return "".join(piece if isinstance(piece, str) else f"[{piece}]" for piece in kept)


def _boxes(before: RegionLatents, after: RegionLatents, batch: RegionBatch) -> Bool[Tensor, "b h w"]:
    """Mark the boxes, grown by a quarter, of the regions that differ."""
    height, width = batch.changed.shape[1:]
    differs = (before.pose.centre != after.pose.centre).any(-1) | (before.valid != after.valid)
    marked = torch.zeros_like(batch.changed)
    for latents in (before, after):
        for sample, region in torch.nonzero(differs).tolist():
            left, top, right, bottom = latents.pose.boxes()[sample, region].tolist()
            grow_x, grow_y = (right - left) / 4, (bottom - top) / 4
            columns = slice(max(0, int((left - grow_x) * width)), max(0, int((right + grow_x) * width) + 1))
            marked[sample, max(0, int((top - grow_y) * height)) : max(0, int((bottom + grow_y) * height) + 1), columns] = True
    return marked
