"""Edit a picture by a plan: encode, change the latents, paint, and put back what must not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from gen.editing.framing import frame_regions
from gen.editing.latent_image import CutImage, LatentImage
from gen.editing.painting import EditedPixels, check_extent, paint_edited
from gen.editing.plan import EditPlan, apply
from gen.editing.preserve import composite
from gen.editing.refine import Refinement, refine
from gen.regions import RegionLatents, RegionPose, Regions
from image_utils.geometry import fitted_size

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline


@dataclass(frozen=True)
class EditResult:
    """A picture after an edit.

    Attributes:
        image: as large as the picture was.
        latents: what was painted.
        changed: at the picture's size; outside it every pixel is the source's, if the plan composites.
        regions: the source's regions, in the pipeline's square.
    """

    image: Image.Image
    latents: RegionLatents
    changed: Bool[Tensor, "h w"]
    regions: Regions


def edit_image(
    pipeline: RegionPipeline,
    image: Image.Image,
    regions: Regions | Int[Tensor, "h w"],
    plan: EditPlan,
    sources: Mapping[str, CutImage] | None = None,
) -> EditResult:
    """Edit a picture of any size.

    The model paints at its own resolution; only the area that the edit may change is taken from there, enlarged to the picture's size, so
    that a large picture stays sharp elsewhere. Positions in the plan are shares of the picture's longer side, from the top left.

    Args:
        pipeline: the model.
        image: RGB.
        regions: of the picture, at its size: a label map or masks.
        plan: what to do.
        sources: other pictures, by the names that the plan uses.

    Raises:
        ValueError: if regions and picture differ in size, or an edit does not fit.
    """
    picture = LatentImage.encode(pipeline, image, regions)
    if plan.refinement_steps:
        picture = picture.refined(plan.refinement_steps, plan.seed)
    others = {name: LatentImage.encode(pipeline, source.image, source.regions).latents for name, source in (sources or {}).items()}
    after = apply(plan, picture.latents, others)
    painted = picture.paint_pixels(
        after,
        prompt=plan.prompt,
        seed=plan.seed,
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
    )
    edited = picture.at_full_size(painted, plan.composite)[0]
    return EditResult(edited, after, picture.changed(after), picture.regions)


def edit_pixels(
    pipeline: RegionPipeline,
    pixel_values: Float[Tensor, "b 3 h w"],
    regions: Regions,
    plan: EditPlan,
    sources: Mapping[str, RegionLatents] | None = None,
) -> EditedPixels:
    """Edit pictures that have the pipeline's resolution already, all in the same way.

    Args:
        pipeline: the model.
        pixel_values: in [-1, 1].
        regions: of the pictures.
        plan: what to do.
        sources: latents of other pictures, by the names that the plan uses.

    Raises:
        ValueError: if a picture has another size, or an edit does not fit.
    """
    before = pipeline.encode(pixel_values, regions)
    if plan.refinement_steps:
        before = refine(pipeline, pixel_values, before, Refinement(num_steps=plan.refinement_steps, seed=plan.seed))
    after = apply(plan, before, sources or {})
    painted = paint_edited(
        pipeline, pixel_values, regions, before, after,
        prompt=plan.prompt, num_inference_steps=plan.num_inference_steps, guidance_scale=plan.guidance_scale,
        generator=torch.Generator().manual_seed(plan.seed),
    )  # fmt: skip
    if not plan.composite:
        return painted
    source = pixel_values.to(painted.pixel_values)
    return EditedPixels(composite(source, painted.pixel_values, painted.changed), painted.latents, painted.changed)


def rehearse(plan: EditPlan, picture: CutImage, sources: Mapping[str, CutImage], num_regions: int, resolution: int = 256) -> None:
    """Apply a plan to poses alone, without a model, so that an edit that does not fit is refused before a model is loaded.

    Args:
        plan: what is to be done.
        picture: what it is done to.
        sources: the other pictures, by the names that the plan uses.
        num_regions: of the pipeline.
        resolution: at which the poses are measured.

    Raises:
        ValueError: as `edit_image` would.
    """

    def posed(cut: CutImage) -> RegionLatents:
        framed = frame_regions(cut.regions, resolution, num_regions)
        return RegionLatents(torch.zeros(*framed.valid.shape, 1, 1), RegionPose.from_regions(framed), framed.valid)

    after = apply(plan, posed(picture), {name: posed(source) for name, source in sources.items()})
    check_extent(after, fitted_size(*picture.image.size, resolution), resolution)
