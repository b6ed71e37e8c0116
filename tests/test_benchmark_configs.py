"""The benchmark's methods: equal budgets, equal sizes, and every one of them trains, exports and reloads."""

from __future__ import annotations

import json
import re

import pytest
from hydra_zen import instantiate

from configs.benchmark import METHODS
from configs.checks import checked
from tests.one_step import TINY, assert_trains_and_reloads, composed


@pytest.fixture(scope="module")
def ours():
    return composed("+experiment=benchmark_ours")


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_our_budget_and_our_size(name, ours):
    config = composed(f"+experiment=benchmark_{name}")
    assert config.trainer == ours.trainer
    for key in ("preset", "scene_seed", "num_scenes", "resolution", "train_batch_size", "supersampling"):
        assert config.dataset[key] == ours.dataset[key]
    parameters, of_ours = (
        sum(parameter.numel() for parameter in instantiate(each.model, _target_wrapper_=checked).parameters()) for each in (config, ours)
    )
    assert abs(parameters / of_ours - 1) < 0.1, (name, parameters, of_ours)


def test_the_demo_is_our_row(ours):
    """Previews, checkpoints and loader processes change no weight."""
    demo = composed("+experiment=demo_exp")
    assert demo.model == ours.model
    assert {key: value for key, value in demo.dataset.items() if key != "num_workers"} == {
        key: value for key, value in ours.dataset.items() if key != "num_workers"
    }
    for key in ("max_train_steps", "learning_rate", "lr_scheduler", "mixed_precision", "ema_decay"):
        assert demo.trainer[key] == ours.trainer[key]


@pytest.mark.parametrize("name", ["ours", "token_only", "channel_concat"])
def test_the_main_rows_see_the_same_pairs(name, ours):
    dataset = composed(f"+experiment=benchmark_{name}").dataset
    for key in ("twin_probability", "twin_operations", "yaw_probability", "depth_probability", "clip_probability", "view_probability"):
        assert dataset[key] == ours.dataset[key]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_trains_a_step_and_its_pipeline_reloads(name, tmp_path):
    assert_trains_and_reloads(composed(f"+experiment=benchmark_{name}", *TINY), tmp_path / "pipeline")


def test_what_is_trained_is_what_is_scored(repository):
    """The runs of scripts/train_benchmark are the folders of the methods file."""
    listed = json.loads((repository / "scripts" / "benchmark_methods.json").read_text())
    scored = {folder for method in listed for folder in method.get("folders", ())} - {"shipped"}
    script = (repository / "scripts" / "train_benchmark").read_text()
    methods = re.search(r"methods=\(\"\$\{@:-([^}]+)\}", script).group(1).split()
    once = re.search(r"=~ \^\(([^)]+)\)", script).group(1).split("|")
    assert set(methods) == set(METHODS)
    trained = {f"outputs/benchmark_{name}_seed{seed}/pipeline" for name in methods for seed in range(3) if seed == 0 or name not in once}
    assert scored == trained
