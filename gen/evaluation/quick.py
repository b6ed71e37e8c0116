"""Quick: measure the shipped model's main row again and compare it with the stored one."""

from __future__ import annotations

import json
from pathlib import Path

from gen.evaluation.benchmark import SHIPPED, run
from gen.evaluation.columns import MAIN, MAIN_OPERATIONS, QUICK_SCENES, QUICK_SPLIT, Column, quick_row
from gen.evaluation.methods import PipelineMethod
from gen.evaluation.oracle import shipped_oracle
from gen.evaluation.report import value_with_unit
from gen.models.pipeline import RegionPipeline, shipped_folder

_STEPS = 4
_GRAIN = {"dB": 0.01, "%": 0.001}  # the last digit of a table


def measure_again(stored: Path) -> tuple[str, bool]:
    """Measure the main row of the shipped weights on the first scenes, with the first sampling seed.

    Args:
        stored: the benchmark's JSON, with a method named `shipped`.

    Returns:
        A Markdown table of stored and new figures, and whether all agree: within two standard deviations over sampling seeds, or within
        the last digit of a table where that is more; for identity, within one answer of the oracle.

    Raises:
        ValueError: if the file has no row to compare with.
    """
    row = stored_row(stored)
    pipeline = RegionPipeline.from_pretrained(shipped_folder())
    method = PipelineMethod(SHIPPED, pipeline, _STEPS)
    results = run([method], MAIN_OPERATIONS, [QUICK_SPLIT], QUICK_SCENES, (0,), shipped_oracle(), pipeline.resolution)
    return compare(row, quick_row(results, SHIPPED))


def stored_row(path: Path) -> dict[str, dict[str, float | None]]:
    """Return the stored row of the shipped model.

    Raises:
        ValueError: if the file has none, none with noise floors, or one of fewer scenes or of other denoising steps.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; run the whole benchmark first")
    stored = json.loads(path.read_text())
    row, facts = stored.get("quick", {}).get(SHIPPED), stored.get("facts", {})
    if not row:
        raise ValueError(f"{path}: has no method named {SHIPPED!r}; list it in the methods file of the whole benchmark")
    if any(figure["noise floor"] is None for figure in row.values()):
        raise ValueError(f"{path}: tells no noise floor; run the whole benchmark with at least two sampling seeds")
    if facts.get("scenes", 0) < QUICK_SCENES or facts.get("denoising steps") != _STEPS:
        asked = f"at least {QUICK_SCENES} scenes and {_STEPS} denoising steps"
        raise ValueError(f"{path}: is of {facts.get('scenes')} scenes and {facts.get('denoising steps')} steps; run it with {asked}")
    return row


def compare(row: dict[str, dict[str, float | None]], now: dict[str, dict[str, float | None]]) -> tuple[str, bool]:
    """Return the table of stored and new figures, and whether all are reproduced; one that the stored row lacks is not."""
    lines = ["| figure | stored | now | noise floor (1 sd) | |", "|---|---|---|---|---|"]
    same = True
    for column in MAIN:
        stored, floor = (row.get(column.text, {}).get(name) for name in ("value", "noise floor"))
        value = now.get(column.text, {}).get("value")
        within = stored is not None and floor is not None and value is not None and abs(value - stored) <= max(2 * floor, _grain(column))
        same &= within
        cells = ["-" if figure is None else value_with_unit(figure, column.unit) for figure in (stored, value, floor)]
        lines.append(f"| {column.text} | " + " | ".join(cells) + f" | {'within' if within else 'DIFFERS'} |")
    return "\n".join(lines), same


def _grain(column: Column) -> float:
    return 1.01 / (3 * QUICK_SCENES) if column.figure == "identity" else _GRAIN[column.unit]
