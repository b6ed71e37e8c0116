"""Columns: the benchmark's main row and its targets, as numbers read off the results."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen.evaluation.benchmark import TRUTH, Results
from gen.evaluation.intervals import Spread, Statistic, noise_floor, spread, summarise
from gen.evaluation.scores import FIGURE

QUICK_SPLIT, QUICK_SCENES = "simple", 64  # on which the shipped model's main row is measured again


@dataclass(frozen=True)
class Column:
    """One figure of one operation, as a statistic over scenes.

    Attributes:
        text: above the column.
        operation: that was made.
        figure: a name of `FIGURES`.
        statistic: over scenes.
        relative: divided by the same on true renders, which is the oracle's own accuracy.
    """

    text: str
    operation: str
    figure: str
    statistic: Statistic = "mean"
    relative: bool = False

    @property
    def unit(self) -> str:
        """The figure's unit."""
        return FIGURE[self.figure].unit


MAIN = (
    Column("object, move", "move", "object_psnr"),
    Column("object, rotate", "rotate", "object_psnr"),
    Column("centroid, median", "move", "centroid_error", "median"),
    Column("centroid, 95th percentile", "move", "centroid_error", "95th percentile"),
    Column("identity after a move, of the oracle's own", "move", "identity", relative=True),
    Column("residual after removal", "remove", "residual_share"),
    Column("hole and shadow of a removal", "remove", "changed_psnr"),
    Column("no-op, raw", "no_op", "drift_raw_psnr"),
    Column("untouched, raw", "move", "untouched_raw_psnr"),
)
OTHERS = (
    *(
        Column(f"object, {text}", operation, "object_psnr")
        for operation, text in (
            ("move_two", "two moves"), ("swap", "swap"), ("resize", "resize"), ("flip", "flip"), ("insert", "insert"),
            ("interpolate_look", "mixed look"), ("interpolate_frame", "mixed place"),
        )
    ),
    Column("looks, monotone", "interpolate_look", "monotone"),
    Column("places, monotone", "interpolate_frame", "monotone"),
    Column("yaw error of rotate, median", "rotate", "rotation_error", "median"),
    Column("reconstruction from latents alone", "reconstruct", "psnr"),
)  # fmt: skip
MAIN_OPERATIONS = tuple(dict.fromkeys(column.operation for column in MAIN))


@dataclass(frozen=True)
class Target:
    """What a column has to reach.

    Attributes:
        text: what is asked.
        column: that is compared.
        limit: in the column's unit; a share of 1 for %.
        rival: the method that has to be beaten by `limit`; "" for an absolute target.
    """

    text: str
    column: Column
    limit: float
    rival: str = ""


TARGETS = (
    *(
        Target(f"object PSNR, {operation}, above {rival}", Column("", operation, "object_psnr"), 3.0, rival)
        for operation in ("move", "rotate")
        for rival in ("token-only", "channel concatenation")
    ),
    *(Target(f"object PSNR, {operation}", Column("", operation, "object_psnr"), 24.0) for operation in ("move", "rotate")),
    Target("centroid error of a move, median", Column("", "move", "centroid_error", "median"), 0.015),
    Target("centroid error of a move, 95th percentile", Column("", "move", "centroid_error", "95th percentile"), 0.05),
    *(
        Target(f"{name} after a move, of the oracle's own accuracy", Column("", "move", f"{name}_right", relative=True), 0.95)
        for name in ("shape", "colour", "material")
    ),
    Target("residual object after removal", Column("", "remove", "residual_share"), 0.02),
    Target("hole and shadow of a removal", Column("", "remove", "changed_psnr"), 28.0),
    Target("rotation error, visible yaw, median", Column("", "rotate", "rotation_error", "median"), 10.0),
    Target("no-op drift, compositing off", Column("", "no_op", "drift_raw_psnr"), 35.0),
    Target("no-op, compositing on, bit-identical (compositing's own guarantee)", Column("", "no_op", "identical"), 1.0),
    Target("untouched region of a move, compositing off", Column("", "move", "untouched_raw_psnr"), 38.0),
    Target("interpolation between two looks, monotone", Column("", "interpolate_look", "monotone"), 0.9),
    Target("interpolation between two frames, monotone", Column("", "interpolate_frame", "monotone"), 0.9),
)


def column_values(results: Results, split: str, group: str, column: Column) -> list[Float[Tensor, " b"]]:
    """Return a column's values, one a scene, of every trained copy of a method; empty where none did it."""
    methods = results.values.get(split, {}).get(column.operation, {})
    seeds = [methods[name] for name in results.copies(split, column.operation, group)]
    first = [next(iter(sampled.values())) for sampled in seeds]
    return [figures[column.figure] for figures in first if column.figure in figures]


def figure_of(results: Results, split: str, group: str, column: Column) -> Spread | None:
    """Return a column of a method over its trained copies; None where it was not measured or no scene has the figure."""
    summaries = [float(summarise(values, column.statistic)) for values in column_values(results, split, group, column)]
    if not summaries or any(math.isnan(summary) for summary in summaries):
        return None
    own = own_accuracy(results, split, column)
    return None if own is None else spread([summary / own for summary in summaries])


def floor_of(results: Results, split: str, group: str, column: Column) -> float | None:
    """Return the noise floor of a column: of the method's first copy that was painted from several sampling seeds; None without one."""
    methods = results.values.get(split, {}).get(column.operation, {})
    for name in results.copies(split, column.operation, group):
        rows = [figures[column.figure] for figures in methods[name].values() if column.figure in figures]
        if len(rows) > 1 and (own := own_accuracy(results, split, column)):
            return noise_floor(torch.stack(rows), column.statistic) / own
    return None


def own_accuracy(results: Results, split: str, column: Column) -> float | None:
    """Return what a relative column is divided by; 1 for the others; None if it is not known or nothing is right on true renders."""
    if not column.relative:
        return 1.0
    values = column_values(results, split, TRUTH, column)
    return (float(summarise(values[0], column.statistic)) or None) if values else None


def check_targets(results: Results, split: str, group: str) -> list[dict[str, str | float | bool | None]]:
    """Return for every target its limit, what was reached, and whether it is met; None where it was not measured."""
    rows: list[dict[str, str | float | bool | None]] = []
    for target in TARGETS:
        reached = figure_of(results, split, group, target.column)
        value = None if reached is None else reached.mean
        if value is not None and target.rival:
            rival = figure_of(results, split, target.rival, target.column)
            value = None if rival is None else value - rival.mean
        higher = FIGURE[target.column.figure].better == "higher"
        met = None if value is None else (value >= target.limit if higher else value <= target.limit)
        sign: Literal["at least", "at most"] = "at least" if higher else "at most"
        rows.append({"target": target.text, "unit": target.column.unit, "bound": sign, "limit": target.limit, "reached": value, "met": met})
    return rows


def quick_row(results: Results, group: str) -> dict[str, dict[str, float | None]]:
    """Return a method's main row on the first `QUICK_SCENES` scenes of `QUICK_SPLIT`, with noise floors: its own, or else the first's."""
    few = first_scenes(results, QUICK_SCENES)
    measured = [group, results.groups()[0]]
    floors = {column: [floor_of(few, QUICK_SPLIT, each, column) for each in measured] for column in MAIN}
    found = {column: figure_of(few, QUICK_SPLIT, group, column) for column in MAIN}
    return {
        column.text: {"value": figure.mean, "noise floor": next((floor for floor in floors[column] if floor is not None), None)}
        for column, figure in found.items()
        if figure is not None
    }


def first_scenes(results: Results, count: int) -> Results:
    """Return the results on the first `count` scenes of every operation and split."""

    def cut(values):
        return {key: cut(item) for key, item in values.items()} if isinstance(values, dict) else values[:count]

    return Results(results.facts, cut(results.values))
