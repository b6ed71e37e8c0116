"""Photographs edited by a pipeline that was trained on them: one object of each moved and removed, as a sheet and figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int
from PIL import Image
from torch import Tensor

from gen.editing.editor import EditResult, edit_image
from gen.editing.framing import frame_image, frame_regions
from gen.editing.plan import EditPlan, Move, Remove
from gen.evaluation.image_metrics import psnr
from gen.models.pipeline import RegionPipeline
from gen.regions import Regions
from gen.segmentation.mask_rules import MaskRules
from image_utils.convert import to_pil
from image_utils.draw import overlay_regions
from image_utils.geometry import fitted_size
from image_utils.grid import image_grid

SHOWN_SIDE = 224  # pixels, of the longer side of a picture on the sheet
LARGEST = 0.15  # of the picture; a larger object has little room to move


@dataclass(frozen=True)
class PhotoEdits:
    """One photograph, edited.

    Attributes:
        name: of the photograph.
        region: the object that was moved and removed.
        psnr: dB, of the whole picture painted from its latents alone, at the pipeline's resolution.
        moved_outside: share of the pixels that the move was not allowed to change and that differ all the same.
        removed_outside: the same of the removal.
        row: the pictures: photograph, regions, from latents alone, moved, removed.
    """

    name: str
    region: int
    psnr: float
    moved_outside: float
    removed_outside: float
    row: list[Image.Image]


def edit_photo(pipeline: RegionPipeline, name: str, image: Image.Image, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"]) -> PhotoEdits:
    """Paint a photograph from its latents, then move and remove one object that has room around it.

    Args:
        pipeline: the model; of more objects than it holds, the largest are shown to it.
        name: of the photograph, for messages and for the sheet.
        image: RGB.
        regions: of the picture, in either form that a segmenter gives.

    Raises:
        ValueError: if there is no object, naming the photograph.
    """
    label_map = _largest_objects(regions, pipeline.num_regions - 1)
    if not label_map.any():
        raise ValueError(f"{name}: the picture has no object to edit; put a mask beside it, or leave it out")
    region, step = _choice(label_map)
    plans = {
        "moved": EditPlan((Move(region=region, dx=step, dy=0.0),)),
        "removed": EditPlan((Remove(region=region),)),
    }
    results = {title: edit_image(pipeline, image, label_map, plan) for title, plan in plans.items()}
    width, height = fitted_size(*image.size, pipeline.resolution)
    square = frame_image(image, pipeline.resolution)
    latents = pipeline.encode(square, frame_regions(label_map, pipeline.resolution, pipeline.num_regions))
    painted = pipeline.decode(latents, generator=torch.Generator().manual_seed(0))[:, :, :height, :width]
    pictures = [image, overlay_regions(image, label_map), to_pil(painted[0]), *(result.image for result in results.values())]
    return PhotoEdits(
        name, region, float(psnr(painted, square[:, :, :height, :width])[0]),
        _outside(image, results["moved"]), _outside(image, results["removed"]), [_shown(picture) for picture in pictures],
    )  # fmt: skip


def photo_sheet(edits: list[PhotoEdits]) -> Image.Image:
    """Lay edited photographs out, one a row."""
    columns = ["photograph", "regions", "from latents alone", "one object moved", "and removed"]
    return image_grid([edit.row for edit in edits], row_labels=[edit.name for edit in edits], column_labels=columns)


def photo_table(edits: list[PhotoEdits]) -> str:
    """Return the figures as a Markdown table, and a link to the sheet."""
    lines = ["| photograph | PSNR from latents alone, dB | pixels changed outside the move | outside the removal |", "|---|---|---|---|"]
    lines += [f"| {edit.name} | {edit.psnr:.1f} | {100 * edit.moved_outside:g} % | {100 * edit.removed_outside:g} % |" for edit in edits]
    picture = "![Each row: a photograph, its regions, the same from its latents alone, one object moved, and removed](photos.png)"
    return "\n".join([*lines, "", picture])


def _largest_objects(regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"], most: int) -> Int[Tensor, "h w"]:
    """Give the largest objects the numbers 1, 2, ...; where objects overlap, the smaller one is on top."""
    masks = regions[1:] if regions.ndim == 3 else regions == regions[regions != 0].unique()[:, None, None]
    as_they_are = MaskRules(max_regions=most, min_area=0.0, max_area=1.0, max_hole=0.0, max_island=0.0, max_overlap=1.0)
    return as_they_are(masks, torch.ones(len(masks)))


def _choice(label_map: Int[Tensor, "h w"]) -> tuple[int, float]:
    """Return an object and how far it moves sideways, in shares of the longer side: to where there is more room.

    Objects inside the picture come before those at its border, small ones before large ones, and then those that fill their box.
    """
    objects = int(label_map.max())
    regions = Regions.from_label_map(label_map[None], objects + 1)
    boxes, areas = regions.boxes()[0], regions.areas()[0]
    filled = areas / (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp_min(1e-6)
    inside = (boxes[:, :2] > 0).all(1) & (boxes[:, 2:] < 1).all(1)
    best = max(range(1, objects + 1), key=lambda k: (bool(inside[k]), bool(areas[k] < LARGEST), float(filled[k])))
    left, right = float(boxes[best, 0]), 1 - float(boxes[best, 2])
    share = label_map.shape[1] / max(label_map.shape)
    return best, share * (min(right, 0.3) if right >= left else -min(left, 0.3))


def _outside(image: Image.Image, result: EditResult) -> float:
    differs = (np.asarray(image) != np.asarray(result.image)).any(-1)
    forbidden = ~result.changed.numpy()
    return float(differs[forbidden].mean()) if forbidden.any() else 0.0


def _shown(image: Image.Image) -> Image.Image:
    return image.resize(fitted_size(*image.size, SHOWN_SIDE), Image.Resampling.LANCZOS)
