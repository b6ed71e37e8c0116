"""Evaluation: score a pipeline folder on held-out scenes and write the report; what `evaluation=counterfactuals` does after training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Edit held-out scenes with a pipeline and compare with the rendered counterfactuals.

    Attributes:
        num_scenes: held-out scenes.
        preset: their difficulty.
        num_inference_steps: of denoising.
        seed: of the sampling noise.
        scene_seed: of the scenes; None for the held-out ones of the README's table.
        device: where the pipeline runs.
    """

    num_scenes: int = 64
    preset: Literal["simple", "standard", "hard"] = "simple"
    num_inference_steps: int = 4
    seed: int = 0
    scene_seed: int | None = None
    device: str = "cpu"

    def __call__(self, pipeline_folder: Path, folder: Path) -> dict[str, float]:
        """Evaluate, write figures.json, figures.md and edits.png into `folder`, and return the figures.

        Raises:
            ArtefactError: if the pipeline folder is missing or damaged.
        """
        from gen.evaluation.benchmark import run_edits, score
        from gen.evaluation.counterfactuals import HELD_OUT_SEED, build_cases
        from gen.evaluation.report import circumstances, write_report
        from gen.models.pipeline import RegionPipeline

        pipeline = RegionPipeline.from_pretrained(pipeline_folder, device=self.device)
        scene_seed = HELD_OUT_SEED if self.scene_seed is None else self.scene_seed
        cases = build_cases(self.num_scenes, pipeline.resolution, pipeline.num_regions, self.preset, scene_seed)
        edited = run_edits(pipeline, cases, self.num_inference_steps, self.seed)
        figures = score(edited, cases)
        facts = {
            "scenes": f"{self.num_scenes} held-out scenes, preset {self.preset}, {pipeline.resolution} px",
            "denoising steps": self.num_inference_steps,
            "seed": self.seed,
            "scene seed": scene_seed,
        }
        write_report(folder, figures, edited, cases, facts=facts | circumstances(self.device))
        return figures
