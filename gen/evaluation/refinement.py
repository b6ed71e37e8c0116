"""What refinement gains: reconstruction and edits of held-out scenes with an encoder's latents and with refined ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from gen.editing.refine import Refinement, refine
from gen.evaluation.benchmark import run
from gen.evaluation.cases import DEVELOPMENT_SEED, Cases
from gen.evaluation.methods import Edited, Method, PipelineMethod, applied, batches, joined, painted_edit
from gen.evaluation.oracle import Oracle
from gen.evaluation.report import circumstances, sheet, summary, value_with_unit, write_table
from gen.evaluation.scores import FIGURES
from gen.models.pipeline import RegionPipeline
from image_utils import io

_OPERATIONS = ("reconstruct", "move", "remove")
_PLAIN, _REFINED = "encoder's latents", "refined"


@dataclass(frozen=True)
class RefinedMethod:
    """A pipeline whose latents are refined on the source before they are painted or edited.

    Attributes:
        name: in tables.
        pipeline: of the same resolution as the cases.
        settings: of the refinement.
        num_inference_steps: of denoising.
        batch_size: pictures at once.
    """

    name: str
    pipeline: RegionPipeline
    settings: Refinement
    num_inference_steps: int = 4
    batch_size: int = 16

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case; None for edits that need another picture's latents, which are not refined."""
        if cases.donor is not None:
            return None
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for rows in batches(cases, self.batch_size):
            source, regions = cases.source[rows], cases.regions[rows]
            before = refine(self.pipeline, source, self.pipeline.encode(source, regions), self.settings)
            if cases.operation == "reconstruct":
                painted = self.pipeline.decode(before, num_inference_steps=self.num_inference_steps, generator=generator).cpu()
                parts.append(Edited(painted, painted))
            else:
                after = applied(cases.plans[rows], before, {})
                parts.append(painted_edit(self.pipeline, source, regions, before, after, self.num_inference_steps, generator))
        return joined(parts)


def measure_refinement(pipeline: RegionPipeline, num_scenes: int, settings: Refinement, folder: Path, oracle: Oracle | None = None) -> str:
    """Edit held-out scenes with and without refinement; write `refinement.json`, `refinement.md` and `refinement.png`.

    Args:
        pipeline: whose latents are refined.
        num_scenes: held-out scenes of every operation.
        settings: of the refinement.
        folder: made if it is not there.
        oracle: of the figures that need one; None leaves them out.

    Returns:
        The table of figures before and after, in Markdown.
    """
    methods: list[Method] = [PipelineMethod(_PLAIN, pipeline), RefinedMethod(_REFINED, pipeline, settings)]
    results = run(methods, _OPERATIONS, ["simple"], num_scenes, (0,), oracle, pipeline.resolution, scene_seed=DEVELOPMENT_SEED)
    told = summary(results)["simple"]
    table = _table(told)
    facts = results.facts | vars(settings) | circumstances(pipeline.device)
    write_table(folder, "refinement", {"before": told[_PLAIN], "after": told[_REFINED]}, table, facts)
    io.save_image(sheet(results), folder / "refinement.png")
    return table


def _table(told: dict[str, dict[str, dict[str, float]]]) -> str:
    lines = [f"| operation | figure | {_PLAIN} | {_REFINED} |", "|---|---|---|---|"]
    for operation in _OPERATIONS:
        for figure in FIGURES:
            if figure.name in told[_PLAIN][operation]:
                cells = [value_with_unit(told[method][operation][figure.name], figure.unit) for method in (_PLAIN, _REFINED)]
                lines.append(f"| {operation} | {figure.text}, {figure.statistic} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)
