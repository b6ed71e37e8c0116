"""The weights that come with the package: small, whole, and good at what the README says, on a few held-out scenes."""

from __future__ import annotations

import pytest
from torch import Tensor

from gen.evaluation.benchmark import run
from gen.evaluation.methods import PipelineMethod
from gen.evaluation.oracle import shipped_oracle
from gen.models.pipeline import RegionPipeline, shipped_folder


def test_they_fit_into_a_package():
    assert sum(path.stat().st_size for path in shipped_folder().rglob("*")) < 12 * 2**20


@pytest.fixture(scope="module")
def figures() -> dict[str, dict[str, Tensor]]:
    """Operation -> figure -> a value for each scene."""
    pipeline = RegionPipeline.from_pretrained(shipped_folder())
    operations = ("reconstruct", "move", "remove")
    results = run([PipelineMethod("shipped", pipeline)], operations, ["simple"], 16, oracle=shipped_oracle())
    return {operation: results.values["simple"][operation]["shipped"][0] for operation in operations}


def test_latents_alone_say_what_the_picture_shows(figures):
    assert figures["reconstruct"]["gain_over_mean_colour"].mean() > 6


def test_moved_objects_arrive_and_keep_their_colour(figures):
    assert figures["move"]["gain"].mean() > 5
    assert (figures["move"]["centroid_error"] < 0.05).float().mean() > 0.8 and figures["move"]["colour_right"].mean() > 0.8


def test_removed_objects_are_gone(figures):
    assert figures["remove"]["residual_object"].mean() < 0.1 and figures["remove"]["oracle_present"].mean() < 0.1
