"""Score a pipeline's reconstructions, moves and removals against the rendered truth."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from gen.editing import operations
from gen.editing.preserve import changed_area, composite
from gen.editing.refine import Refinement, refine
from gen.evaluation import region_metrics
from gen.evaluation.counterfactuals import Cases
from gen.evaluation.image_metrics import mean_colour, psnr
from gen.models.pipeline import RegionPipeline
from gen.regions import RegionLatents, concatenate

_CENTROID_LIMIT = 0.05  # of the width
_RESIDUAL_LIMIT = 0.25  # of the removed object's pixels


@dataclass(frozen=True)
class Edited:
    """What a pipeline made of the cases.

    Attributes:
        reconstruction: from the latents alone, no source context.
        moved: with source context, composited.
        moved_raw: the same before compositing.
        removed: with source context, composited.
        changed: pixels that the move was allowed to change.
    """

    reconstruction: Float[Tensor, "b 3 h w"]
    moved: Float[Tensor, "b 3 h w"]
    moved_raw: Float[Tensor, "b 3 h w"]
    removed: Float[Tensor, "b 3 h w"]
    changed: Bool[Tensor, "b h w"]


def run_edits(
    pipeline: RegionPipeline,
    cases: Cases,
    num_inference_steps: int = 4,
    seed: int = 0,
    batch_size: int = 16,
    refinement: Refinement | None = None,
) -> Edited:
    """Reconstruct every case from its latents alone, make its move, and make its removal.

    The edits are the ones a user makes: `move` by the case's shift, `resize` by the case's perspective factor, and `remove`.

    Args:
        pipeline: what is judged.
        cases: the scenes and their truth.
        num_inference_steps: of denoising.
        seed: of the noise.
        batch_size: pictures at once.
        refinement: of the latents before they are painted or edited; None for none.
    """
    columns: list[list[Tensor]] = [[], [], [], [], []]
    for start in tqdm(range(0, len(cases.specs), batch_size), desc="edits", unit="batch"):
        rows = slice(start, start + batch_size)
        source, regions = cases.source[rows], cases.regions[rows]
        latents = pipeline.encode(source, regions)
        if refinement is not None:
            latents = refine(pipeline, source, latents, refinement)
        moves, removals = [], []
        for i, number in enumerate(range(start, start + len(source))):
            region = cases.move.region[number]
            moved = operations.move(latents[i], region, *cases.move.shift[number].tolist())
            moves.append(operations.resize(moved, region, tuple(cases.move.factor[number].tolist())))
            removals.append(operations.remove(latents[i], cases.removal.region[number]))
        generator = torch.Generator().manual_seed(seed + start)
        columns[0].append(pipeline.decode(latents, num_inference_steps=num_inference_steps, generator=generator).cpu())
        for after, place in ((concatenate(moves), 1), (concatenate(removals), 3)):
            painted, changed = _edit(pipeline, source, regions, latents, after, num_inference_steps, generator)
            columns[place].append(composite(source, painted, changed))
            if place == 1:
                columns[2].append(painted)
                columns[4].append(changed)
    return Edited(*(torch.cat(column) for column in columns))


def _edit(
    pipeline: RegionPipeline, source: Tensor, regions, before: RegionLatents, after: RegionLatents, steps: int, generator: torch.Generator
) -> tuple[Float[Tensor, "b 3 h w"], Bool[Tensor, "b h w"]]:
    changed = changed_area(regions, before.to("cpu"), after.to("cpu"))
    context = pipeline.surroundings(source, changed)
    painted = pipeline.decode(after, context=context, num_inference_steps=steps, generator=generator).cpu()
    return painted, changed


def score(edited: Edited, cases: Cases) -> dict[str, float]:
    """Return the figures: gains in dB (means over scenes), shares in [0, 1]. `*_of_truth` applies the instrument to the true renders."""
    move, removal = cases.move, cases.removal

    def centroid(images: Tensor) -> Tensor:
        return region_metrics.centroid_error(region_metrics.object_pixels(images, move.truth, move.empty, move.mask), move.mask)

    def colours_kept(images: Tensor) -> float:
        named = region_metrics.nearest_candidate(images, move.recoloured, move.mask)
        return sum(a == b for a, b in zip(named, move.colour, strict=True)) / len(named)

    def gone(images: Tensor) -> float:
        return _share(region_metrics.residual_share(images, cases.source, removal.truth, removal.mask) < _RESIDUAL_LIMIT)

    unedited, unremoved = psnr(cases.source, move.truth), psnr(cases.source, removal.truth)
    elsewhere = ~edited.changed
    return {
        "scenes": float(len(cases.specs)),
        "reconstruction_psnr": _mean(psnr(edited.reconstruction, cases.source)),
        "reconstruction_gain_over_mean_colour": _mean(
            psnr(edited.reconstruction, cases.source) - psnr(mean_colour(cases.source), cases.source)
        ),
        "move_psnr": _mean(psnr(edited.moved, move.truth)),
        "move_gain_over_unedited": _mean(psnr(edited.moved, move.truth) - unedited),
        "move_gain_without_compositing": _mean(psnr(edited.moved_raw, move.truth) - unedited),
        "elsewhere_psnr_without_compositing": _mean(psnr(edited.moved_raw, cases.source, elsewhere)),
        "centroid_within_5_percent": _share(centroid(edited.moved) < _CENTROID_LIMIT),
        "centroid_within_5_percent_of_truth": _share(centroid(move.truth) < _CENTROID_LIMIT),
        "colour_kept": colours_kept(edited.moved),
        "colour_kept_of_truth": colours_kept(move.truth),
        "removal_psnr": _mean(psnr(edited.removed, removal.truth)),
        "removal_gain_over_unedited": _mean(psnr(edited.removed, removal.truth) - unremoved),
        "removed_object_gone": gone(edited.removed),
        "removed_object_gone_of_truth": gone(removal.truth),
        "removed_object_gone_of_unedited": gone(cases.source),
    }


def _mean(values: Tensor) -> float:
    return float(values.mean())


def _share(values: Tensor) -> float:
    return float(values.float().mean())
