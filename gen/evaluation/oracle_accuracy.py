"""Accuracy of the oracle: how often and how well it is right on true renders that it was not trained on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen import scenes
from gen.evaluation.cases import HELD_OUT_SEED, SPLITS
from gen.evaluation.oracle import Oracle, mask_centroid, yaw_error_degrees
from gen.evaluation.report import circumstances, value_with_unit, write_table

_GREY_LEVELS = 2  # of 8 bits

# figure -> (what it says, unit)
FIGURES = {
    "shape": ("shape named rightly", "%"),
    "colour": ("colour named rightly", "%"),
    "material": ("material named rightly", "%"),
    "material_ambiguous": ("objects that look the same in matte and in shiny", "%"),
    "identity": ("all three named rightly", "%"),
    "mask_iou": ("overlap of the mask with the true one (IoU), mean", "%"),
    "centroid_median": ("centroid of the mask, error in shares of the width, median", "%"),
    "centroid_95": ("the same, at most so much for 95 % of the objects", "%"),
    "yaw_median": ("yaw where it is visible, error, median", "degrees"),
    "present": ("objects that are there and found", "%"),
    "absent": ("removed objects whose place is called empty", "%"),
    "residual": ("pixels of a removed object that its mask still claims, mean", "%"),
}


@torch.no_grad()
def oracle_accuracy(
    oracle: Oracle, split: str = "simple", count: int = 256, resolution: int = 64, seed: int = HELD_OUT_SEED
) -> dict[str, float]:
    """Read every object of held-out scenes in its true box, and one place a scene from which its object was removed.

    Args:
        oracle: what is judged.
        split: one of `SPLITS`.
        count: of scenes, at least 1.
        resolution: side of the pictures, in pixels.
        seed: of the scenes; those of `HELD_OUT_SEED` are never used in training.

    Returns:
        Shares in [0, 1], lengths in shares of the width, the yaw's error in degrees (NaN if no object has a visible yaw), and `objects`,
        their number. Half of `material_ambiguous` is what no oracle can name.
    """
    specs = [scenes.sample_scene(seed, number, split) for number in range(count)]
    rendering = scenes.render(specs, resolution)
    places = [(row, number) for row, spec in enumerate(specs) for number in range(1, len(spec.objects) + 1)]
    row, number = torch.tensor(places).T
    seen = (rendering.label_map[row] == number[:, None, None]).any(-1).any(-1)
    row, number = row[seen], number[seen]
    mask = rendering.label_map[row] == number[:, None, None]
    reading = oracle.read(rendering.pixel_values[row], rendering.boxes[row, number])
    true = scenes.labels(specs, int(number.max()) + 1)
    right = {name: getattr(reading, name).argmax(-1) == true[name][row, number] for name in ("shape", "colour", "material")}
    apart = (mask_centroid(reading.mask) - mask_centroid(mask.float())).norm(dim=-1)
    yaw = yaw_error_degrees(reading, [specs[i] for i in row.tolist()], number.tolist())
    removed = torch.tensor([1 + i % len(spec.objects) for i, spec in enumerate(specs)])
    empty = scenes.render(
        [_changed(spec, k, present=False) for spec, k in zip(specs, removed.tolist(), strict=True)], resolution
    ).pixel_values
    nothing = oracle.read(empty, rendering.boxes[range(count), removed])
    gone = rendering.label_map == removed[:, None, None]
    return {
        "objects": float(len(row)),
        **{name: _share(hits) for name, hits in right.items()},
        "material_ambiguous": _share(_alike(specs, row, number, resolution)),
        "identity": _share(torch.stack(list(right.values())).all(0)),
        "mask_iou": float(_iou(reading.mask, mask).mean()),
        "centroid_median": _quantile(apart.nan_to_num(1.0), 0.5),  # an object that is not found counts as the whole width
        "centroid_95": _quantile(apart.nan_to_num(1.0), 0.95),
        "yaw_median": _quantile(yaw[yaw.isfinite()], 0.5),
        "present": _share(reading.present >= 0.5),
        "absent": _share(nothing.present < 0.5),
        "residual": float((((nothing.mask >= 0.5) & gone).sum((1, 2)) / gone.sum((1, 2)).clamp_min(1)).mean()),
    }


def accuracies(oracle: Oracle, count: int = 256, folder: Path | None = None) -> dict[str, dict[str, float]]:
    """Return the accuracy on every split, and write oracle.json and oracle.md into `folder`."""
    figures = {split: oracle_accuracy(oracle, split, count) for split in SPLITS}
    if folder is not None:
        facts = {"scenes of each split": count, "scene seed": HELD_OUT_SEED, "resolution": 64}
        facts |= {"parameters": sum(parameter.numel() for parameter in oracle.parameters())}
        write_table(folder, "oracle", {"figures": figures}, table(figures), facts | circumstances(next(oracle.parameters()).device))
    return figures


def table(figures: dict[str, dict[str, float]]) -> str:
    """Return the accuracies as a Markdown table, a column a split."""
    rows = {"objects": [f"{values['objects']:.0f}" for values in figures.values()]}
    rows |= {text: [value_with_unit(values[name], unit) for values in figures.values()] for name, (text, unit) in FIGURES.items()}
    lines = [f"| on true renders | {' | '.join(figures)} |", "|---" * (1 + len(figures)) + "|"]
    lines += [f"| {text} | {' | '.join(cells)} |" for text, cells in rows.items()]
    return "\n".join(lines)


def _alike(specs: list[scenes.SceneSpec], row: Tensor, number: Tensor, resolution: int) -> Bool[Tensor, " m"]:
    """Mark the objects of matte or shiny material that look the same in the other one, for no highlight is seen."""
    places = list(zip(row.tolist(), number.tolist(), strict=True))
    asked = torch.tensor([specs[i].objects[k - 1].material != "metal" for i, k in places])
    matte, shiny = (
        scenes.render([_changed(specs[i], k, material=name) for i, k in places], resolution).pixel_values for name in ("matte", "shiny")
    )
    return asked & ((matte - shiny).abs().amax((1, 2, 3)) < _GREY_LEVELS / 127.5)


def _changed(spec: scenes.SceneSpec, number: int, **changes) -> scenes.SceneSpec:
    objects = tuple(replace(item, **changes) if k == number else item for k, item in enumerate(spec.objects, 1))
    return replace(spec, objects=objects)


def _iou(probability: Float[Tensor, "m h w"], mask: Bool[Tensor, "m h w"]) -> Float[Tensor, " m"]:
    said = probability >= 0.5
    return (said & mask).sum((1, 2)) / (said | mask).sum((1, 2)).clamp_min(1)


def _share(hits: Bool[Tensor, " m"]) -> float:
    return float(hits.float().mean())


def _quantile(values: Float[Tensor, " m"], share: float) -> float:
    return float(values.quantile(share)) if len(values) else torch.nan
