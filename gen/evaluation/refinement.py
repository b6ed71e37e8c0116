"""What refinement gains: reconstruction and edits of held-out scenes with an encoder's latents and with refined ones."""

from __future__ import annotations

from pathlib import Path

from PIL.Image import Image

from gen.editing.refine import Refinement
from gen.evaluation.benchmark import Edited, run_edits, score
from gen.evaluation.counterfactuals import Cases, build_cases
from gen.evaluation.report import FIGURES, circumstances, value_with_unit, write_table
from gen.models.pipeline import RegionPipeline
from image_utils import convert, grid, io


def measure_refinement(pipeline: RegionPipeline, num_scenes: int, settings: Refinement, folder: Path) -> str:
    """Edit held-out scenes with and without refinement; write `refinement.json`, `refinement.md` and `refinement.png`.

    Args:
        pipeline: whose latents are refined.
        num_scenes: held-out scenes.
        settings: of the refinement.
        folder: made if it is not there.

    Returns:
        The table of figures before and after, in Markdown.
    """
    cases = build_cases(num_scenes, pipeline.resolution, pipeline.num_regions)
    edited = [run_edits(pipeline, cases, refinement=refinement) for refinement in (None, settings)]
    before, after = (score(pictures, cases) for pictures in edited)
    lines = ["| figure | encoder's latents | refined |", "|---|---|---|"]
    for name, (text, unit) in FIGURES.items():
        lines.append(f"| {text} | {value_with_unit(before[name], unit)} | {value_with_unit(after[name], unit)} |")
    table = "\n".join(lines)
    facts = {"scenes": f"{num_scenes} held-out scenes, preset simple, {pipeline.resolution} px", **vars(settings)}
    write_table(folder, "refinement", {"before": before, "after": after}, table, facts | circumstances(pipeline.device))
    io.save_image(_sheet(cases, edited[0], edited[1]), folder / "refinement.png")
    return table


def _sheet(cases: Cases, before: Edited, after: Edited, rows: int = 8) -> Image:
    columns = {
        "source": cases.source,
        "latents only": before.reconstruction,
        "refined": after.reconstruction,
        "true move": cases.move.truth,
        "move": before.moved,
        "refined move": after.moved,
    }
    pictures = [[convert.to_pil(column[i]) for column in columns.values()] for i in range(min(rows, len(cases.specs)))]
    return grid.image_grid(pictures, column_labels=list(columns), scale=2)
