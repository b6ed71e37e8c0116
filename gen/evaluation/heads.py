"""Score a pipeline's heads on held-out scenes: how often an object's labels are named, how far its rotation and place are off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from gen.data.augment import ViewTransform
from gen.data.batch import RegionBatch
from gen.data.scenes import Scenes
from gen.evaluation import rotation_metrics
from gen.evaluation.cases import DEVELOPMENT_SEED
from gen.evaluation.report import circumstances, write_table
from gen.models.heads import ClassHead, Head, Heads, PoseHead
from gen.models.pipeline import RegionPipeline
from gen.models.rotation_head import RotationHead
from gen.scenes import SHAPES

_BATCH = 32
_CANDIDATES = 8  # of a diffusion head, which then answers with the most central one


@dataclass(frozen=True, kw_only=True)
class HeadsEvaluation:
    """Read held-out scenes with a pipeline's region encoder and compare what its heads say with the truth.

    Attributes:
        num_scenes: held-out scenes.
        preset: their difficulty.
        scene_seed: of the scenes; never one that was trained on.
        view_degrees: largest orbit of the second camera that `relative` heads compare with.
    """

    num_scenes: int = 256
    preset: Literal["simple", "standard", "hard"] = "simple"
    scene_seed: int = DEVELOPMENT_SEED
    view_degrees: float = 30.0

    def __call__(self, pipeline: RegionPipeline, folder: Path | None = None) -> dict[str, dict]:
        """Return the figures of every head by its name, and write heads.json and heads.md into `folder`.

        Raises:
            ValueError: if the pipeline has no heads.
        """
        if pipeline.heads is None:
            raise ValueError("this pipeline has no heads; train one with model/heads=...")
        records = self._records(pipeline)
        figures = {name: _figures(head, [record[name] for record in records]) for name, head in pipeline.heads.named()}
        if folder is not None:
            facts = {"scenes": self.num_scenes, "preset": self.preset, "scene seed": self.scene_seed, "resolution": pipeline.resolution}
            write_table(folder, "heads", {"figures": figures}, table(figures), facts | circumstances(pipeline.device))
        return figures

    def batches(self, resolution: int, num_regions: int) -> list[RegionBatch]:
        """Return the held-out scenes, unaugmented; the target view is another camera's."""
        data = Scenes(
            resolution=resolution, num_regions=num_regions, preset=self.preset, scene_seed=self.scene_seed,
            twin_probability=0.0, view_probability=1.0, view_degrees=self.view_degrees,
        )  # fmt: skip
        blocks = [list(range(start, min(start + _BATCH, self.num_scenes))) for start in range(0, self.num_scenes, _BATCH)]
        unchanged = [ViewTransform()] * _BATCH
        return [data.collate(data.items(block), unchanged[: len(block)], unchanged[: len(block)], block) for block in blocks]

    @torch.no_grad()
    def _records(self, pipeline: RegionPipeline) -> list[dict[str, dict[str, Tensor]]]:
        heads: Heads = pipeline.heads  # type: ignore[assignment]
        generator = torch.Generator().manual_seed(self.scene_seed)
        records = []
        for batch in self.batches(pipeline.resolution, pipeline.num_regions):
            source, target = (
                pipeline.region_encoder(
                    view.pixel_values.to(pipeline.device), view.regions.to(pipeline.device), None, view.coordinates.to(pipeline.device)
                )
                for view in (batch.source, batch.target)
            )
            records.append({name: _record(head, source, target, batch, generator) for name, head in heads.named()})
        return records


def _record(head: Head, source: Tensor, target: Tensor, batch: RegionBatch, generator: torch.Generator) -> dict[str, Tensor]:
    """Return what one head made of one batch: a number per object that counts, by name."""
    valid = batch.source.regions.valid.clone()
    valid[:, 0] = False
    if isinstance(head, ClassHead):
        logits = {name: values.cpu() for name, values in head.predict(source).items()}
        return {name: (values.argmax(-1) == batch.labels[name])[valid & (batch.labels[name] >= 0)] for name, values in logits.items()}
    if isinstance(head, PoseHead):
        pose = batch.source.pose
        return {"predicted": head.predict(source).cpu()[valid], "true": torch.cat([pose.centre, pose.size], -1)[valid]}
    assert isinstance(head, RotationHead)
    period = batch.rotation_period
    counted = rotation_metrics.visible(batch.source.rotations, period, valid)
    if head.kind == "relative":
        counted = counted & rotation_metrics.visible(batch.target.rotations, period, batch.target.regions.valid)
    said = head.predict(source, target, period.to(source.device), _CANDIDATES, generator).to("cpu")
    true, periods = batch.source.rotations[counted], period[counted]
    record = {"shape": batch.labels["shape"][counted], "period": periods, "true": true}
    if said.yaw is not None:
        record["yaw"] = rotation_metrics.yaw_errors(said.yaw[:, :, 0][counted], true, periods)
    if said.rotations is not None:
        first = said.rotations[:, :, 0][counted]
        relative = head.kind == "relative"
        record["rotation"] = (
            rotation_metrics.relative_errors(first, true, batch.target.rotations[counted], periods)
            if relative
            else rotation_metrics.rotation_errors(first, true, periods)
        )
        if relative:
            still = torch.eye(3).expand_as(first)
            record["unturned"] = rotation_metrics.relative_errors(still, true, batch.target.rotations[counted], periods)
    return record


def _figures(head: Head, records: list[dict[str, Tensor]]) -> dict[str, object]:
    """Return the figures of one head over all objects."""
    columns = {name: torch.cat([record[name] for record in records]) for name in records[0]}
    if isinstance(head, ClassHead):
        return {name: {"objects": float(len(hits)), "accuracy": float(hits.float().mean())} for name, hits in columns.items()}
    if isinstance(head, PoseHead):
        return {"explained_variance": explained_variance(columns["predicted"], columns["true"])}
    figures: dict[str, object] = {}
    for kind in ("yaw", "rotation"):
        if kind in columns:
            figures[kind] = rotation_metrics.summary(columns[kind])
            figures[f"{kind}_by_shape"] = {
                name: rotation_metrics.summary(columns[kind][columns["shape"] == number])
                for number, name in enumerate(SHAPES)
                if bool((columns["shape"] == number).any())
            }
    if "unturned" in columns:
        figures["chance"] = {"median_of_no_turn": float(columns["unturned"].median())}
    else:
        figures["chance"] = rotation_metrics.chance(columns["true"], columns["period"])
    return figures


def explained_variance(predicted: Float[Tensor, "m k"], true: Float[Tensor, "m k"]) -> dict[str, float]:
    """Return 1 - error / variance of x, y, width and height: near 0 where the tokens do not tell position, 1 where they tell it exactly."""
    share = 1 - (predicted - true).square().mean(0) / true.var(0, correction=0)
    return dict(zip(("x", "y", "width", "height"), share.tolist(), strict=True))


def table(figures: dict[str, dict]) -> str:
    """Return the figures as a Markdown table, a line for each quantity of each head; medians and means of rotations are degrees."""
    lines = ["| head | quantity | figures |", "|---|---|---|"]

    def add(head: str, quantity: str, values: dict) -> None:
        numbers = {name: value for name, value in values.items() if not isinstance(value, dict)}
        if numbers:
            told = ", ".join(f"{name} {value:.3g}" for name, value in numbers.items())
            lines.append(f"| {head} | " + f"{quantity} | {told} |".replace("_", " "))
        for name, value in values.items():
            if isinstance(value, dict):
                add(head, f"{quantity} {name}".strip(), value)

    for head, values in figures.items():
        add(head, "", values)
    return "\n".join(lines)
