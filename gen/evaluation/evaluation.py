"""Evaluation: score one pipeline folder on held-out scenes, which `evaluation=counterfactuals` does after training, or compare many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What the figures of one pipeline are told of; the whole benchmark has all operations.
_OPERATIONS = ("reconstruct", "no_op", "move", "rotate", "remove")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Edit held-out scenes with a pipeline and compare with the rendered counterfactuals.

    Attributes:
        num_scenes: held-out scenes of every operation.
        preset: of the scenes; `simple` is what the models are trained on.
        num_inference_steps: of denoising.
        seed: of the sampling noise.
        scene_seed: of the scenes; None for those that may be looked at while a recipe is made, not the benchmark's.
        device: where the pipeline runs.
    """

    num_scenes: int = 64
    preset: Literal["simple", "unseen_pairs", "five_objects"] = "simple"
    num_inference_steps: int = 4
    seed: int = 0
    scene_seed: int | None = None
    device: str = "cpu"

    def __call__(self, pipeline_folder: Path, folder: Path) -> dict[str, dict[str, float]]:
        """Evaluate, write figures.json, figures.md and edits.png into `folder`, and return operation -> figure -> value.

        Raises:
            ArtefactError: if the pipeline folder is missing or damaged.
            ValueError: if the number of scenes is out of range, or the method's pictures are not finite.
        """
        from gen.evaluation.benchmark import run
        from gen.evaluation.cases import DEVELOPMENT_SEED
        from gen.evaluation.methods import PipelineMethod
        from gen.evaluation.oracle import shipped_oracle
        from gen.evaluation.report import circumstances, write_single_report
        from gen.models.pipeline import RegionPipeline

        pipeline = RegionPipeline.from_pretrained(pipeline_folder, device=self.device)
        results = run(
            [PipelineMethod("pipeline", pipeline, self.num_inference_steps)],
            _OPERATIONS,
            [self.preset],
            self.num_scenes,
            [self.seed],
            shipped_oracle().to(self.device),
            pipeline.resolution,
            scene_seed=DEVELOPMENT_SEED if self.scene_seed is None else self.scene_seed,
        )
        results.facts.update({"denoising steps": self.num_inference_steps} | circumstances(self.device))
        return write_single_report(folder, results)


def compare_methods(
    methods_file: Path,
    folder: Path,
    num_scenes: int = 256,
    operations: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    num_sampling_seeds: int = 3,
    num_inference_steps: int = 4,
    device: str = "cpu",
) -> str:
    """Compare the methods of a file on held-out scenes; write benchmark.json, .md, .png and benchmark_scenes.json, return the Markdown.

    Args:
        methods_file: JSON, see `gen.evaluation.entrants.read_entrants`; its first method is the one that targets are told of.
        folder: made if it is not there.
        num_scenes: of every operation and split.
        operations: of `gen.evaluation.cases.OPERATIONS`; None for all.
        splits: of `gen.evaluation.cases.SPLITS`; None for all.
        num_sampling_seeds: of the first method, for the noise floor.
        num_inference_steps: of denoising.
        device: where pipelines run.

    Raises:
        ValueError: if the file, an operation or a split is not what it should be; before anything is painted.
        ArtefactError: if a pipeline folder is missing or damaged; before anything is painted.
    """
    import time

    from gen.evaluation.benchmark import run
    from gen.evaluation.cases import OPERATIONS, SPLITS
    from gen.evaluation.entrants import load_methods, read_entrants
    from gen.evaluation.oracle import shipped_oracle
    from gen.evaluation.report import circumstances, write_report
    from gen.models.pipeline import RegionPipeline

    for kind, asked, known in (("operation", operations, OPERATIONS), ("split", splits, SPLITS)):
        for name in asked or ():
            if name not in known:
                raise ValueError(f"unknown {kind} {name!r}; choose from {', '.join(known)}")
    methods, parameters = load_methods(read_entrants(methods_file), num_inference_steps, device)
    pipelines = [part for method in methods if isinstance(part := getattr(method, "pipeline", None), RegionPipeline)]
    resolution = pipelines[0].resolution if pipelines else 64
    begun = time.monotonic()
    seeds, oracle = range(num_sampling_seeds), shipped_oracle().to(device)
    results = run(methods, operations or OPERATIONS, splits or SPLITS, num_scenes, seeds, oracle, resolution)
    measured = {"denoising steps": num_inference_steps, "minutes": round((time.monotonic() - begun) / 60, 1)}
    results.facts.update({"parameters": parameters} | measured | circumstances(device))
    return write_report(folder, results)
