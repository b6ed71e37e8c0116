"""Paint edited latents into a picture's square: what the edit may change, with the rest as surroundings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.editing.preserve import changed_area
from gen.regions import RegionLatents, Regions

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline


@dataclass(frozen=True)
class EditedPixels:
    """Pictures at the pipeline's resolution after an edit.

    Attributes:
        pixel_values: in [-1, 1]; `edit_pixels` puts the source's own back outside `changed`, unless its plan says otherwise.
        latents: what was painted.
        changed: what the edit may have changed.
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    latents: RegionLatents
    changed: Bool[Tensor, "b h w"]


def paint_edited(
    pipeline: RegionPipeline,
    pixel_values: Float[Tensor, "b 3 r r"],
    regions: Regions,
    before: RegionLatents,
    after: RegionLatents,
    *,
    context: bool = True,
    control: Float[Tensor, "b 3 r r"] | None = None,
    prompt: str | list[str] | None = None,
    num_inference_steps: int = 4,
    guidance_scale: float = 1.0,
    generator: torch.Generator | list[torch.Generator] | None = None,
) -> EditedPixels:
    """Paint pictures after an edit; nothing is put back yet.

    Args:
        pipeline: the model.
        pixel_values: the pictures before the edit, in [-1, 1].
        regions: of these.
        before: their latents.
        after: the edited latents.
        context: let the decoder see what the edit cannot change.
        control: conditioning pictures, for a pipeline with a ControlNet.
        prompt: a sentence for all of them, or one each.
        num_inference_steps: of the sampler.
        guidance_scale: 1 is no guidance.
        generator: of the noise: one for all, or one each.
    """
    changed = changed_area(regions.to(before.valid.device), before, after)
    painted = pipeline.decode(
        after,
        prompt=prompt,
        context=pipeline.surroundings(pixel_values, changed) if context else None,
        control=control,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        generator=generator,
    )
    return EditedPixels(painted, after, changed.to(painted.device))


def check_extent(latents: RegionLatents, extent: tuple[int, int], resolution: int) -> None:
    """Refuse a centre that lies in the square but beyond a picture that is not square.

    Args:
        latents: any number of edits of one picture.
        extent: the picture's (width, height) in the square, in pixels.
        resolution: side of the square.

    Raises:
        ValueError: naming the first such region.
    """
    right, bottom = extent[0] / resolution, extent[1] / resolution
    for row, region in latents.valid.nonzero().tolist():
        x, y = latents.pose.centre[row, region].tolist()
        if region > 0 and (x > right or y > bottom):
            raise ValueError(
                f"region {region} would have its centre at ({x:.3f}, {y:.3f}), outside the picture; "
                f"positions are shares of its longer side: keep x within [0, {right:.3f}] and y within [0, {bottom:.3f}]"
            )
