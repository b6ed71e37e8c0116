"""The weights that come with the package: small, whole, and good at what the README says, on a few held-out scenes."""

from __future__ import annotations

import pytest

from gen.evaluation.benchmark import run_edits, score
from gen.evaluation.counterfactuals import build_cases
from gen.models.pipeline import RegionPipeline, shipped_folder


def test_they_fit_into_a_package():
    assert sum(path.stat().st_size for path in shipped_folder().rglob("*")) < 12 * 2**20


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    pipeline = RegionPipeline.from_pretrained(shipped_folder())
    cases = build_cases(16, pipeline.resolution, pipeline.num_regions)
    return score(run_edits(pipeline, cases, num_inference_steps=4), cases)


def test_latents_alone_say_what_the_picture_shows(figures):
    assert figures["reconstruction_gain_over_mean_colour"] > 6


def test_moved_objects_arrive_and_keep_their_colour(figures):
    assert figures["move_gain_over_unedited"] > 5
    assert figures["centroid_within_5_percent"] > 0.8 and figures["colour_kept"] > 0.8


def test_removed_objects_are_gone(figures):
    assert figures["removed_object_gone"] > 0.9
