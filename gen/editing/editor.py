"""Edit a picture: encode, change the latents, paint, and put back what must not change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from gen.editing.framing import frame_image, frame_regions, paste_changed, unframe_mask
from gen.editing.operations import regions_present
from gen.editing.plan import EditPlan, apply
from gen.editing.preserve import changed_area, composite
from gen.editing.refine import Refinement, refine
from gen.regions import RegionLatents, RegionPose, Regions
from image_utils.geometry import fitted_size

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline


@dataclass(frozen=True)
class CutImage:
    """A picture with its regions, both of one size.

    Attributes:
        image: RGB.
        regions: a label map (0 is the background), or the masks of one picture.
    """

    image: Image.Image
    regions: Regions | Int[Tensor, "h w"]

    def __post_init__(self) -> None:
        height, width = self.regions.shape if isinstance(self.regions, Tensor) else self.regions.masks.shape[-2:]
        if (width, height) != self.image.size:
            own = f"{self.image.width}x{self.image.height}"
            raise ValueError(f"the regions are {width}x{height} pixels, but the picture is {own}; give regions of the picture's size")


@dataclass(frozen=True)
class EditedPixels:
    """Pictures at the pipeline's resolution after an edit.

    Attributes:
        pixel_values: in [-1, 1]; the source's own outside `changed` if the plan composites.
        latents: what was painted.
        changed: what the edit may have changed.
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    latents: RegionLatents
    changed: Bool[Tensor, "b h w"]


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
    resolution = pipeline.resolution
    pixel_values, framed = _framed(pipeline, CutImage(image, regions))
    latents = {name: pipeline.encode(*_framed(pipeline, source)) for name, source in (sources or {}).items()}
    painted = _paint(pipeline, pixel_values, framed, plan, latents, fitted_size(*image.size, resolution))
    area = painted.changed[0] if plan.composite else None
    edited = paste_changed(image, painted.pixel_values[0].cpu(), None if area is None else area.cpu())
    return EditResult(edited, painted.latents, unframe_mask(painted.changed[0], image.size), framed)


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
    painted = _paint(pipeline, pixel_values, regions, plan, sources or {}, (pipeline.resolution, pipeline.resolution))
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
    _check_extent(after, fitted_size(*picture.image.size, resolution), resolution)


def _paint(
    pipeline: RegionPipeline,
    pixel_values: Float[Tensor, "b 3 h w"],
    regions: Regions,
    plan: EditPlan,
    sources: Mapping[str, RegionLatents],
    extent: tuple[int, int],
) -> EditedPixels:
    """Encode, edit and decode; nothing is put back yet. `extent` is the picture's (width, height) inside the square."""
    before = pipeline.encode(pixel_values, regions)
    if plan.refinement_steps:
        before = refine(pipeline, pixel_values, before, Refinement(num_steps=plan.refinement_steps, seed=plan.seed))
    after = apply(plan, before, sources)
    _check_extent(after, extent, pipeline.resolution)
    changed = changed_area(regions.to(before.valid.device), before, after)
    painted = pipeline.decode(
        after,
        prompt=plan.prompt,
        context=pipeline.surroundings(pixel_values, changed),
        num_inference_steps=plan.num_inference_steps,
        guidance_scale=plan.guidance_scale,
        generator=torch.Generator().manual_seed(plan.seed),
    )
    return EditedPixels(painted, after, changed)


def _framed(pipeline: RegionPipeline, cut: CutImage) -> tuple[Float[Tensor, "1 3 r r"], Regions]:
    return frame_image(cut.image, pipeline.resolution), frame_regions(cut.regions, pipeline.resolution, pipeline.num_regions)


def _check_extent(latents: RegionLatents, extent: tuple[int, int], resolution: int) -> None:
    """Refuse a centre that lies in the square but beyond a picture that is not square."""
    right, bottom = extent[0] / resolution, extent[1] / resolution
    for region in regions_present(latents):
        x, y = latents.pose.centre[0, region].tolist()
        if x > right or y > bottom:
            raise ValueError(
                f"region {region} would have its centre at ({x:.3f}, {y:.3f}), outside the picture; "
                f"positions are shares of its longer side: keep x within [0, {right:.3f}] and y within [0, {bottom:.3f}]"
            )
