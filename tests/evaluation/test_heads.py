"""The heads' evaluation: heads that know nothing score as chance does, and a head that learns is seen to know."""

from __future__ import annotations

import json

import pytest
import torch

from gen.evaluation import heads as evaluation
from gen.evaluation.heads import HeadsEvaluation
from gen.losses import LossWeights
from gen.models.heads import ClassHead, Heads, PoseHead
from gen.models.pipeline import RegionPipeline
from gen.models.rotation_head import RotationHead
from gen.models.tiny import WIDTH, tiny_pipeline, tiny_region_diffusion
from scripts import evaluate_heads

KINDS = ("six_d", "six_d_diffusion", "bins", "relative")


@pytest.fixture(scope="module")
def pipeline() -> RegionPipeline:
    torch.manual_seed(0)
    heads = {kind: RotationHead(kind, WIDTH, 2) for kind in KINDS}
    parts = Heads({"classes": ClassHead(WIDTH, 2, {"shape": 8, "colour": 8}), "where": PoseHead(WIDTH, 2), **heads})
    return tiny_region_diffusion(heads=parts, loss_weights=LossWeights(classes=1.0, pose=1.0, rotation=1.0)).eval().pipeline()


def test_heads_that_know_nothing_score_as_chance_does(pipeline, tmp_path):
    figures = HeadsEvaluation(num_scenes=40)(pipeline, tmp_path)
    assert sorted(figures) == sorted(["classes", "where", *KINDS])
    assert figures["classes"]["shape"]["accuracy"] < 0.4 and figures["classes"]["shape"]["objects"] > 80
    assert max(figures["where"]["explained_variance"].values()) < 0.1
    for kind in KINDS[:3]:
        by_chance = figures[kind]["chance"]["median_of_random"]
        assert figures[kind]["yaw"]["median"] == pytest.approx(by_chance, rel=0.4)
        assert 0 < figures[kind]["yaw"]["objects"] < figures["classes"]["shape"]["objects"], "spheres have no visible yaw"
        assert "sphere" not in figures[kind]["yaw_by_shape"] or figures[kind]["yaw_by_shape"]["sphere"]["objects"] < 10
    assert figures["relative"]["rotation"]["median"] > figures["relative"]["chance"]["median_of_no_turn"]
    assert json.loads((tmp_path / "heads.json").read_text())["figures"] == figures
    assert "| classes | shape | objects" in (tmp_path / "heads.md").read_text()


def test_a_head_that_has_learnt_the_held_out_scenes_is_seen_to_know_them(pipeline):
    """Trained on the very scenes that it is scored on, a classifier of the untrained encoder's tokens gets most colours right."""
    torch.manual_seed(0)
    head, scoring = ClassHead(WIDTH, 2, {"colour": 8}), HeadsEvaluation(num_scenes=32)
    (batch,) = scoring.batches(pipeline.resolution, pipeline.num_regions)
    with torch.no_grad():
        tokens = pipeline.region_encoder(batch.source.pixel_values, batch.source.regions, None, batch.source.coordinates)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(200):
        loss = head.losses(tokens, None, batch, batch.source.regions.valid)["classes"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    knowing = tiny_region_diffusion(heads=Heads({"classes": head}), loss_weights=LossWeights(classes=1.0)).eval().pipeline()
    knowing.region_encoder = pipeline.region_encoder
    assert scoring(knowing)["classes"]["colour"]["accuracy"] > 0.7


def test_explained_variance_is_1_for_the_truth_and_0_for_the_mean():
    true = torch.rand(50, 4, generator=torch.Generator().manual_seed(0))
    assert list(evaluation.explained_variance(true, true).values()) == [1, 1, 1, 1]
    assert max(map(abs, evaluation.explained_variance(true.mean(0).expand(50, 4), true).values())) < 1e-5


def test_the_command_scores_a_saved_pipeline_and_refuses_one_without_heads(pipeline, tmp_path, capsys):
    pipeline.save_pretrained(tmp_path / "with")
    assert evaluate_heads.main(["--pipeline", str(tmp_path / "with"), "--out", str(tmp_path / "out"), "--scenes", "8"]) == 0
    assert "| bins | yaw | objects" in capsys.readouterr().out and (tmp_path / "out" / "heads.json").exists()
    tiny_pipeline().save_pretrained(tmp_path / "without")
    assert evaluate_heads.main(["--pipeline", str(tmp_path / "without")]) == 2
    assert "has no heads" in capsys.readouterr().err
