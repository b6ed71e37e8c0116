"""Methods: whatever edits pictures, behind one call; a pipeline's edits in one run, or one object after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.editing.plan import EditPlan, Insert, Remove, apply
from gen.editing.preserve import changed_area, composite
from gen.evaluation.cases import DONOR, Cases, box_centre, box_edits
from gen.models.pipeline import RegionPipeline
from gen.regions import RegionLatents, RegionPose, Regions, cell_centres, concatenate

_SOURCE = "source"  # the name of the picture before any edit, in the plans of `ChainedEdits`


@dataclass(frozen=True)
class Edited:
    """What a method made of cases.

    Attributes:
        raw: as the method painted it, in [-1, 1].
        composited: with the pixels put back that the method knows it may not change.
    """

    raw: Float[Tensor, "b 3 h w"]
    composited: Float[Tensor, "b 3 h w"]


@runtime_checkable
class Method(Protocol):
    """Edit pictures as their plans ask."""

    @property
    def name(self) -> str:
        """Return what tables call it."""
        ...

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case; None if the method cannot do this operation.

        Args:
            cases: of one operation. A method may look at the source, its regions, the plans, the boxes and the donor, never at the truth.
            seed: of the noise; the same seed gives the same pictures.
        """
        ...


@dataclass(frozen=True)
class PipelineMethod:
    """Change a pipeline's latents and paint them; a reconstruction is painted from the latents alone.

    Attributes:
        name: in tables.
        pipeline: of the same resolution as the cases.
        num_inference_steps: of denoising.
        batch_size: pictures at once.
    """

    name: str
    pipeline: RegionPipeline
    num_inference_steps: int = 4
    batch_size: int = 16

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for rows in batches(cases, self.batch_size):
            source, regions = cases.source[rows], cases.regions[rows]
            before = self.pipeline.encode(source, regions)
            if cases.operation == "reconstruct":
                parts.append(painted_alone(self.pipeline, before, self.num_inference_steps, generator))
                continue
            sources = {}
            if cases.donor is not None and cases.donor_regions is not None:
                sources[DONOR] = self.pipeline.encode(cases.donor[rows], cases.donor_regions[rows])
            after = applied(cases.plans[rows], before, sources)
            parts.append(painted_edit(self.pipeline, source, regions, before, after, self.num_inference_steps, generator))
        return joined(parts)


@dataclass(frozen=True)
class ChainedEdits:
    """Edit two objects with a pipeline in separate runs, each on the picture that the one before made.

    For the second run a user knows the picture's regions only from the first edit: the moved object's mask is the old one carried to the
    new box, and hides what lies under it. Two objects trade places in three runs: take the second one out, move the first one, and put
    the second one back in from the original picture. Edits of one object are left to `PipelineMethod`.

    Attributes:
        name: in tables.
        pipeline: of the same resolution as the cases.
        num_inference_steps: of denoising.
        batch_size: pictures at once.
    """

    name: str
    pipeline: RegionPipeline
    num_inference_steps: int = 4
    batch_size: int = 16

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case of swap and move_two; `raw` is what the last run painted."""
        if cases.operation not in ("swap", "move_two"):
            return None
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for rows in batches(cases, self.batch_size):
            source, regions = cases.source[rows], cases.regions[rows]
            numbers = range(*rows.indices(len(cases.plans)))
            placed = [_second_placed(cases, i) for i in numbers]
            sources = {_SOURCE: applied(placed, self.pipeline.encode(source, regions), {})}
            chains = [_chain(cases, i) for i in numbers]
            edited = Edited(source, source)
            for step in zip(*chains, strict=True):
                before = self.pipeline.encode(edited.composited, regions)
                after = applied(list(step), before, sources)
                picture = edited.composited
                edited = painted_edit(self.pipeline, picture, regions, before, after, self.num_inference_steps, generator)
                regions = carried_regions(regions, before.to("cpu"), after.to("cpu"))
            parts.append(edited)
        return joined(parts)


def batches(cases: Cases, batch_size: int) -> Iterator[slice]:
    """Return which rows of the cases belong to each batch."""
    return (slice(start, start + batch_size) for start in range(0, len(cases.plans), batch_size))


def joined(parts: list[Edited]) -> Edited:
    """Join batches."""
    return Edited(torch.cat([part.raw for part in parts]), torch.cat([part.composited for part in parts]))


def applied(plans: list[EditPlan], before: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
    """Apply each picture's own plan; a yaw that only some plans tell is unknown (NaN) in the others.

    Args:
        plans: one a picture.
        before: the pictures' latents.
        sources: latents of other pictures, one each as well.
    """
    parts = [apply(plan, before[i], {name: latents[i] for name, latents in sources.items()}) for i, plan in enumerate(plans)]
    if any(part.pose.yaw is not None for part in parts):
        parts = [_with_yaw(part) for part in parts]
    return concatenate(parts)


def painted_alone(pipeline: RegionPipeline, latents: RegionLatents, num_inference_steps: int, generator: torch.Generator) -> Edited:
    """Paint latents with no picture to look at."""
    painted = pipeline.decode(latents, num_inference_steps=num_inference_steps, generator=generator).cpu()
    return Edited(painted, painted)


def painted_edit(
    pipeline: RegionPipeline,
    source: Float[Tensor, "b 3 h w"],
    regions: Regions,
    before: RegionLatents,
    after: RegionLatents,
    num_inference_steps: int,
    generator: torch.Generator,
    asked: Bool[Tensor, "b h w"] | None = None,
) -> Edited:
    """Paint changed latents in their surroundings, and put back the pixels that such a change does not touch.

    Args:
        pipeline: that paints.
        source: before the edit, in [-1, 1].
        regions: of the source.
        before: its latents.
        after: the changed ones.
        num_inference_steps: of denoising.
        generator: of the noise.
        asked: pixels that may change as well.
    """
    changed = changed_area(regions, before.to("cpu"), after.to("cpu"))
    if asked is not None:
        changed = changed | asked
    context = pipeline.surroundings(source, changed)
    raw = pipeline.decode(after, context=context, num_inference_steps=num_inference_steps, generator=generator).cpu()
    return Edited(raw, composite(source, raw, changed))


def asked_area(cases: Cases) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that the plans may change, for methods that have no latents of the objects."""
    before, sources = _without_appearance(cases.regions, 0.0), {}
    if cases.donor_regions is not None:
        sources[DONOR] = _without_appearance(cases.donor_regions, 1.0)
    return changed_area(cases.regions, before, applied(cases.plans, before, sources))


def carried_regions(regions: Regions, before: RegionLatents, after: RegionLatents) -> Regions:
    """Return the regions of an edited picture as the edit tells them.

    A removed object has no pixels; a moved one has its old mask, resampled from its old box to its new one (nearest neighbour), and what
    lies under it belongs to it. The background gets what is left.

    Args:
        regions: before the edit.
        before: latents before the edit, whose boxes are those of `regions`.
        after: latents after it; upright and not mirrored.
    """
    masks = regions.masks & after.valid[..., None, None]
    changed = (before.pose.boxes() != after.pose.boxes()).any(-1) & before.valid & after.valid
    for sample, region in changed.nonzero().tolist():
        old, new = before.pose.boxes()[sample, region], after.pose.boxes()[sample, region]
        carried = carry(regions.masks[sample, region][None].float(), old, new, "nearest")[0] > 0.5
        masks[sample] &= ~carried
        masks[sample, region] = carried
    masks[:, 0] = ~masks[:, 1:].any(1)
    return Regions(masks, masks.flatten(2).any(-1))


def carry(
    picture: Float[Tensor, "c h w"], old: Float[Tensor, " 4"], new: Float[Tensor, " 4"], mode: str = "bilinear", mirror: bool = False
) -> Float[Tensor, "c h w"]:
    """Resample a picture so that what was in the box `old` is in the box `new`; zeros where that lies outside the picture.

    Args:
        picture: any channels.
        old: (left, top, right, bottom) in [0, 1].
        new: the same.
        mode: of `grid_sample`.
        mirror: left to right.
    """
    height, width = picture.shape[-2:]
    own = (cell_centres(height, width) - new[:2]) / (new[2:] - new[:2])
    if mirror:
        own = torch.stack([1 - own[:, 0], own[:, 1]], -1)
    places = 2 * (old[:2] + own * (old[2:] - old[:2])) - 1
    return F.grid_sample(picture[None], places.view(1, height, width, 2), mode=mode, align_corners=False)[0]


def _chain(cases: Cases, number: int) -> list[EditPlan]:
    """Return the plans of one case's runs; what is put back comes in its new size from the picture `_SOURCE`."""
    (first, second), boxes, goals = cases.edited[number], cases.regions.boxes()[number], cases.new_boxes[number]
    moved = EditPlan(box_edits(first, boxes[first], goals[0]))
    if cases.operation == "move_two":
        return [moved, EditPlan(box_edits(second, boxes[second], goals[1]))]
    return [EditPlan((Remove(second),)), moved, EditPlan((Insert(_SOURCE, second, *box_centre(goals[1])),))]


def _second_placed(cases: Cases, number: int) -> EditPlan:
    second, goal = cases.edited[number][1], cases.new_boxes[number, 1]
    return EditPlan(box_edits(second, cases.regions.boxes()[number, second], goal))


def _with_yaw(latents: RegionLatents) -> RegionLatents:
    pose = latents.pose
    return latents if pose.yaw is not None else replace(latents, pose=replace(pose, yaw=torch.full_like(pose.centre, torch.nan)))


def _without_appearance(regions: Regions, token: float) -> RegionLatents:
    tokens = torch.full((*regions.valid.shape, 1, 1), token)
    return RegionLatents(tokens, RegionPose.from_regions(regions), regions.valid)
