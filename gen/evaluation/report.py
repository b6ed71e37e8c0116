"""Report: the benchmark's tables, targets and picture sheet, and how any evaluation writes a table down."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from gen.evaluation.benchmark import SHIPPED, TRUTH, UNEDITED, Results
from gen.evaluation.columns import MAIN, OTHERS, Column, check_targets, column_values, figure_of, floor_of, own_accuracy, quick_row
from gen.evaluation.intervals import Spread, Statistic, bootstrap, paired_difference
from gen.evaluation.scores import FIGURES
from image_utils import convert, grid, io

_SHEET_SCENES = 3
_NOTES = (
    "One global latent cannot edit: it paints the source as it knows it, whatever is asked. The mixed look of copy-paste fades one picture "
    "into another pixel by pixel, with the object in the same place in both, which is nearly the truth by construction. All methods that "
    "denoise take the same number of steps."
)


def short_table(results: Results, split: str, columns: Sequence[Column] = MAIN) -> str:
    """Return columns of a split: a row for each method that has any of them, mean ± standard deviation over its trained copies.

    The last row tells what another sampling seed changes, measured on the first method.
    """
    lines = ["| method | " + " | ".join(_header(columns)) + " | parameters [M] | copies |", "|---" * (len(columns) + 3) + "|"]
    parameters = results.facts.get("parameters", {})
    for group in results.groups():
        found = [figure_of(results, split, group, column) for column in columns]
        if any(found):
            cells = ["-" if figure is None else _with_spread(figure, column.unit) for figure, column in zip(found, columns, strict=True)]
            copies = max(figure.count for figure in found if figure is not None)
            size = f"{parameters[group] / 1e6:.2f}" if group in parameters else "-"
            lines.append(f"| {group} | " + " | ".join(cells) + f" | {size} | {copies} |")
    floors = [floor_of(results, split, results.groups()[0], column) for column in columns]
    shown = ["-" if floor is None else _number(floor, column.unit, 3) for floor, column in zip(floors, columns, strict=True)]
    lines.append("| noise floor (1 sd over sampling seeds) | " + " | ".join(shown) + " | - | - |")
    return "\n".join(lines)


def long_table(results: Results, split: str, operation: str) -> str:
    """Return all figures of one operation: a row for each, a column for each method, with the interval of 95 % over scenes.

    Of a method with several copies the statistic is taken copy by copy, in every draw of scenes, and then averaged.
    """
    groups = [group for group in results.groups() if results.copies(split, operation, group)]
    lines = ["| figure | range | better | " + " | ".join(groups) + " |", "|---" * (len(groups) + 3) + "|"]
    for figure in FIGURES:
        column = Column(figure.text, operation, figure.name, figure.statistic)
        values = [column_values(results, split, group, column) for group in groups]
        if any(values):
            unit = f" [{figure.unit}]" if figure.unit else ""
            bounds = " to ".join(_number(bound, figure.unit, 0) for bound in figure.bounds)
            cells = [_with_interval(copies, figure.statistic, figure.unit) for copies in values]
            lines.append(f"| {figure.text}, {figure.statistic}{unit} | {bounds} | {figure.better} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def difference_table(results: Results, split: str, columns: Sequence[Column] = MAIN) -> str:
    """Return by how much the first method differs from each other, on the same scenes, with intervals of 95 %.

    Of a method with several copies the statistic is taken copy by copy, in every draw of scenes, and then averaged.
    """
    ours, *others = [group for group in results.groups() if group != TRUTH]
    lines = [f"| {ours} minus | " + " | ".join(_header(columns)) + " |", "|---" * (len(columns) + 1) + "|"]
    for other in others:
        cells = [_difference(results, split, ours, other, column) for column in columns]
        if set(cells) != {"-"}:
            lines.append(f"| {other} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _difference(results: Results, split: str, ours: str, other: str, column: Column) -> str:
    sides = [column_values(results, split, group, column) for group in (ours, other)]
    own = own_accuracy(results, split, column)
    if own is None or not all(sides):
        return "-"
    first, second = (torch.stack(side) for side in sides)
    found = paired_difference(first, second, column.statistic)
    return _interval_text(found.value / own, found.low / own, found.high / own, column.unit, signed=True)


def _header(columns: Sequence[Column]) -> list[str]:
    return [f"{column.text} [{column.unit}]" for column in columns]


def target_table(rows: list[dict]) -> str:
    """Return the rows of `check_targets` in Markdown."""
    lines = ["| target | asked | reached | |", "|---|---|---|---|"]
    words = {True: "met", False: "**not met**", None: "not measured"}
    for row in rows:
        asked = f"{row['bound']} {value_with_unit(row['limit'], row['unit'])}"
        reached = "-" if row["reached"] is None else value_with_unit(row["reached"], row["unit"])
        lines.append(f"| {row['target']} | {asked} | {reached} | {words[row['met']]} |")
    return "\n".join(lines)


def summary(results: Results) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return split -> method -> operation -> figure: its statistic over scenes, averaged over the method's trained copies."""
    told: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for split, group, column in _measured(results):
        found = figure_of(results, split, group, column)
        if found is not None:
            told.setdefault(split, {}).setdefault(group, {}).setdefault(column.operation, {})[column.figure] = found.mean
    return told


def _details(results: Results) -> dict:
    """Return what `summary` does, with the spread over trained copies, the interval over scenes and the noise floor of each figure."""
    details: dict = {}
    for split, group, column in _measured(results):
        found = figure_of(results, split, group, column)
        if found is not None:
            interval = bootstrap(torch.stack(column_values(results, split, group, column)), column.statistic)
            details.setdefault(split, {}).setdefault(group, {}).setdefault(column.operation, {})[column.figure] = {
                "value": found.mean,
                "deviation over copies": found.deviation,
                "copies": found.count,
                "interval over scenes": [interval.low, interval.high],
                "noise floor": floor_of(results, split, group, column),
            }
    return details


def _measured(results: Results) -> Iterator[tuple[str, str, Column]]:
    """Yield every split, method and figure of an operation that was run."""
    for split, operations in results.values.items():
        for group in results.groups():
            for operation in operations:
                for figure in FIGURES:
                    if operation in figure.operations:
                        yield split, group, Column(figure.text, operation, figure.name, figure.statistic)


def sheet(results: Results, groups: list[str] | None = None, scenes: int = _SHEET_SCENES) -> Image.Image:
    """Draw edited scenes: rows are scenes of every operation, columns the source, the truth and the methods.

    Args:
        results: of `run`, with their pictures.
        groups: methods that are shown by their first copy; None for all.
        scenes: of every operation.
    """
    shown = groups or [group for group in results.groups() if group not in (TRUTH, UNEDITED)]
    rows, labels = [], []
    for operation, pictures in results.pictures.items():
        columns = [pictures["source"], pictures["truth"]]
        for group in shown:
            name = next((name for name in pictures if name.split("@")[0] == group), None)
            columns.append(pictures[name] if name else torch.ones_like(pictures["source"]))
        for number in range(min(scenes, len(columns[0]))):
            rows.append([convert.to_pil(column[number]) for column in columns])
            labels.append(operation if number == 0 else "")
    return grid.image_grid(rows, row_labels=labels, column_labels=["source", "truth", *shown], scale=2)


def single_sheet(results: Results, scenes: int = _SHEET_SCENES + 1) -> Image.Image:
    """Draw the edits of the only method: rows are scenes, columns the source, the truth and the picture of every operation but no-op.

    Args:
        results: of `run`, with their pictures.
        scenes: of every operation.
    """
    columns, labels = [], []
    for operation, pictures in results.pictures.items():
        if operation != "no_op":
            shown = ["source", results.groups()[0]] if operation == "reconstruct" else ["source", "truth", results.groups()[0]]
            columns += [pictures[name] for name in shown]
            labels += [operation if name not in ("source", "truth") else name for name in shown]
    rows = [[convert.to_pil(column[number]) for column in columns] for number in range(min(scenes, len(columns[0])))]
    return grid.image_grid(rows, column_labels=labels, scale=2)


def write_report(folder: Path, results: Results, name: str = "benchmark") -> str:
    """Write `name`.json, `name`.md, `name`.png and every scene's figures as `name`_scenes.json into `folder`; return the Markdown.

    Args:
        folder: made if it is not there.
        results: of `run`.
        name: of the files.
    """
    results.save(folder / f"{name}_scenes.json")  # first of all: it took hours
    first, ours = next(iter(results.values)), next(iter(results.groups()))
    targets = {group: check_targets(results, first, group) for group in dict.fromkeys((ours, SHIPPED)) if group in results.groups()}
    parts = [_NOTES]
    for split, operations in results.values.items():
        tables = [MAIN, *([OTHERS] if any(column.operation in operations for column in OTHERS) else [])]
        parts += [f"## Scenes: {split}", *(short_table(results, split, columns) for columns in tables)]
        if len(results.groups()) > 3:
            parts += [f"### {ours} minus the others, with intervals of 95 % over scenes"]
            parts += [difference_table(results, split, columns) for columns in tables]
        if split == first:
            parts += [text for group, rows in targets.items() for text in (f"### Targets, {group}, scenes: {split}", target_table(rows))]
        for operation in operations:
            parts += [f"### {operation}", long_table(results, split, operation)]
    table = "\n\n".join(parts)
    values = {
        "declared": {figure.name: asdict(figure) for figure in FIGURES},
        "figures": _details(results),
        "targets": targets,
        "quick": {group: quick_row(results, group) for group in results.groups()},
    }
    write_table(folder, name, values, table, results.facts)
    if results.pictures:
        io.save_image(sheet(results), folder / f"{name}.png")
    return table


def write_single_report(folder: Path, results: Results) -> dict[str, dict[str, float]]:
    """Write `figures.json`, `figures.md` and `edits.png` of the only method of one split; return operation -> figure -> value."""
    told = next(iter(summary(results).values()))
    ours = results.groups()[0]
    write_table(
        folder, "figures", {"figures": told[ours], TRUTH: told[TRUTH], UNEDITED: told[UNEDITED]}, single_table(results), results.facts
    )
    io.save_image(single_sheet(results), folder / "edits.png")
    return told[ours]


def single_table(results: Results) -> str:
    """Return the figures of the only method of one split, with what the instruments say of true renders and of unedited pictures."""
    split, operations = next(iter(results.values.items()))
    groups = [results.groups()[0], TRUTH, UNEDITED]
    lines = [f"| operation | figure | value | {TRUTH} | {UNEDITED} |", "|---|---|---|---|---|"]
    for operation in operations:
        for figure in FIGURES:
            column = Column(figure.text, operation, figure.name, figure.statistic)
            found = [figure_of(results, split, group, column) for group in groups]
            if found[0] is not None:
                cells = ["-" if each is None else value_with_unit(each.mean, figure.unit) for each in found]
                lines.append(f"| {operation} | {figure.text}, {figure.statistic} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def circumstances(device: torch.device | str) -> dict[str, str]:
    """Return on what and when figures are measured."""
    on_cpu = f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
    hardware = torch.cuda.get_device_name() if torch.device(device).type == "cuda" else on_cpu
    return {"hardware": hardware, "date": date.today().isoformat()}


def write_table(folder: Path, name: str, values: dict, table: str, facts: dict) -> None:
    """Write values as `name`.json and their table as `name`.md, each with the facts of how they were measured."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps({"facts": facts, **values}, indent=2) + "\n")
    (folder / f"{name}.md").write_text(table + "\n\n" + "".join(f"- {fact}: {value}\n" for fact, value in facts.items()))


def value_with_unit(value: float, unit: str) -> str:
    """Return a figure as a table shows it."""
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.2f} {unit}" if unit else f"{value:.3f}"


def _number(value: float, unit: str, digits: int | None = None) -> str:
    digits = (1 if unit == "%" else 3 if unit == "" else 2) if digits is None else digits
    text = f"{100 * value if unit == '%' else value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def _with_spread(figure: Spread, unit: str) -> str:
    deviation = "" if figure.deviation is None else f" ± {_number(figure.deviation, unit)}"
    return _number(figure.mean, unit) + deviation


def _with_interval(copies: list[Tensor], statistic: Statistic, unit: str) -> str:
    if not copies:
        return "-"
    found = bootstrap(torch.stack(copies), statistic)
    return "-" if math.isnan(found.value) else _interval_text(found.value, found.low, found.high, unit)


def _interval_text(value: float, low: float, high: float, unit: str, signed: bool = False) -> str:
    if math.isnan(value):
        return "-"
    number = _number(value, unit)
    sign = "+" if signed and float(number) > 0 else ""
    return f"{sign}{number} [{_number(low, unit)}, {_number(high, unit)}]"
