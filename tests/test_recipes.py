"""The recipes of the prior art: at both scales each trains a step with real classes, and its pipeline reloads to equal pictures."""

from __future__ import annotations

import subprocess
import sys

import pytest

from configs import recipes
from configs.recipes import RECIPES
from configs.store import merged
from tests.one_step import TINY, TINY_STABLE_DIFFUSION, assert_trains_and_reloads, composed, toy_backbone

SMALL = [name for name in RECIPES if not name.endswith("_paper")]
# At their papers' scale these take many seconds each, of parts that the others have too.
LARGE = ("break_a_scene", "channel_concat", "paired_frames", "rotation")


@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_trains_a_step_and_its_pipeline_reloads(name, tmp_path):
    assert_trains_and_reloads(composed(f"+experiment={name}", *TINY), tmp_path / "pipeline")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in SMALL])
def test_a_recipe_at_its_papers_scale_trains_a_step_with_toy_weights(name, stable_diffusion, tmp_path):
    """The same classes as with the real weights; only names, widths and sizes are replaced."""
    chosen = composed(f"+experiment={name}_paper")
    overrides = list(TINY if chosen.model.decoder._target_.endswith("small_decoder") else TINY_STABLE_DIFFUSION)
    if "weights" in chosen.model.decoder:
        overrides.append(f"model.decoder.weights={stable_diffusion}")
    if "weights" in chosen.model.region_encoder.get("backbone", {}):
        overrides += toy_backbone("dinov2_with_registers")
    assert_trains_and_reloads(composed(f"+experiment={name}_paper", *overrides), tmp_path / "pipeline")


@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_says_where_it_comes_from_and_what_to_expect(name):
    said = getattr(recipes, name).__doc__
    assert all(word in said for word in ("Source:", "Expected:", "Hardware:", f"Command: python train.py +experiment={name}"))
    assert (composed(f"+experiment={name}").exp, composed(f"+experiment={name}_paper").exp) == (name, f"{name}_paper")


@pytest.mark.slow
def test_a_fresh_process_loads_what_a_recipe_exported(tmp_path, repository):
    """Without the classes that training happened to import."""
    overrides = ["+experiment=gen", *TINY, "model/region_encoder/backbone=dinov2", *toy_backbone("dinov2_with_registers")]
    assert_trains_and_reloads(composed(*overrides), tmp_path / "pipeline")
    program = (
        "import sys; from gen.models.pipeline import RegionPipeline; print(list(RegionPipeline.from_pretrained(sys.argv[1]).components))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "pipeline")], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "heads" in done.stdout, done.stderr


def test_overlays_merge_key_by_key_and_the_later_choice_wins():
    first = {"defaults": [{"override /a": "x"}, {"override /b": "y"}], "model": {"width": 1, "depth": 2}, "list": [1, 2]}
    second = {"defaults": [{"override /a": None}], "model": {"width": 3}, "list": [4]}
    assert merged(first, second) == {
        "defaults": [{"override /a": None}, {"override /b": "y"}],
        "model": {"width": 3, "depth": 2},
        "list": [4],
    }
    assert first["model"] == {"width": 1, "depth": 2}
