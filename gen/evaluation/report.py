"""Write an evaluation down: one small table, one JSON file, one picture."""

from __future__ import annotations

import json
import platform
from datetime import date
from pathlib import Path

import torch

from gen.evaluation.benchmark import Edited
from gen.evaluation.counterfactuals import Cases
from image_utils import convert, draw, grid, io

# figure -> (what it says, unit)
FIGURES = {
    "reconstruction_psnr": ("reconstruction from latents alone, PSNR", "dB"),
    "reconstruction_gain_over_mean_colour": ("the same, above the picture's mean colour", "dB"),
    "move_psnr": ("move, PSNR against the rendered truth", "dB"),
    "move_gain_over_unedited": ("the same, above the unedited picture", "dB"),
    "move_gain_without_compositing": ("the same, without compositing", "dB"),
    "elsewhere_psnr_without_compositing": ("untouched pixels of a move, without compositing, PSNR", "dB"),
    "centroid_within_5_percent": ("moved object within 5 % of the width of where it was asked", "%"),
    "colour_kept": ("moved object keeps its colour", "%"),
    "removal_psnr": ("removal, PSNR against the rendered truth", "dB"),
    "removal_gain_over_unedited": ("the same, above the unedited picture", "dB"),
    "removed_object_gone": ("removed object is gone", "%"),
}


def table(figures: dict[str, float]) -> str:
    """Return the figures as a Markdown table; the last column is the instrument's own score on the true renders."""
    lines = ["| figure | value | on true renders |", "|---|---|---|"]
    for name, (text, unit) in FIGURES.items():
        truth = figures.get(f"{name}_of_truth")
        lines.append(f"| {text} | {value_with_unit(figures[name], unit)} | {'' if truth is None else value_with_unit(truth, unit)} |")
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
    return f"{100 * value:.1f} %" if unit == "%" else f"{value:.2f} {unit}"


def write_report(folder: Path, figures: dict[str, float], edited: Edited, cases: Cases, rows: int = 8, facts: dict | None = None) -> None:
    """Write `figures.json`, `figures.md` and `edits.png` into `folder`.

    Args:
        folder: made if it is not there.
        figures: from `score`.
        edited: pictures of the pipeline.
        cases: the truth.
        rows: scenes in the picture.
        facts: how the figures were made (seed, steps, hardware, date); stored beside them.
    """
    write_table(folder, "figures", {"figures": figures}, table(figures), facts or {})
    columns = {
        "source": cases.source,
        "latents only": edited.reconstruction,
        "move": edited.moved,
        "true move": cases.move.truth,
        "removal": edited.removed,
        "true removal": cases.removal.truth,
    }
    labels = cases.regions.label_map()
    pictures = []
    for i in range(min(rows, len(cases.specs))):
        row = [convert.to_pil(column[i]) for column in columns.values()]
        pictures.append([row[0], draw.overlay_regions(row[0], labels[i]), *row[1:]])
    sheet = grid.image_grid(pictures, column_labels=["source", "regions", *list(columns)[1:]], scale=2)
    io.save_image(sheet, folder / "edits.png")
