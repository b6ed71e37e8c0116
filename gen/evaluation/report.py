"""Write an evaluation down: one small table, one JSON file, one picture."""

from __future__ import annotations

import json
from pathlib import Path

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
        lines.append(f"| {text} | {_value(figures[name], unit)} | {'' if truth is None else _value(truth, unit)} |")
    return "\n".join(lines)


def _value(value: float, unit: str) -> str:
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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures.json").write_text(json.dumps({"facts": facts or {}, "figures": figures}, indent=2) + "\n")
    notes = "".join(f"- {name}: {value}\n" for name, value in (facts or {}).items())
    (folder / "figures.md").write_text(table(figures) + "\n\n" + notes)
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
