"""Every entry composes, every experiment runs, swapping one group leaves the others alone, and mistakes are answered in one line."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from configs.hydra import main, runnable
from image_utils.io import save_image
from tests.one_step import STORE, composed
from train import train

# The data sets as parts of a mixture are composed in tests/data/test_mixture.py.
ENTRIES = sorted(
    (entry["group"], entry["name"]) for entry in STORE if entry["group"] and not entry["group"].startswith(("hydra", "dataset/part"))
)
# At the papers' scale pretrained weights are needed: tests/test_recipes.py puts toys in their place.
# The papers' scales are run with toy weights in test_recipes.py; the oracle, which is no region model, in test_oracle.py.
EXPERIMENTS = [name for group, name in ENTRIES if group == "experiment" and not name.endswith("_paper") and name != "oracle"]


def override(group: str, name: str) -> str:
    return f"+{group}={name}" if group in ("experiment", "mode") else f"{group}={name}"


@pytest.mark.parametrize(("group", "name"), ENTRIES)
def test_every_entry_composes(group, name):
    config = composed(override(group, name), "dataset.train_batch_size=3")
    assert OmegaConf.to_container(config)["dataset"]["train_batch_size"] == 3


@pytest.fixture(scope="module")
def before():
    return composed("dataset=scenes", "dataset.resolution=32")


@pytest.mark.parametrize("name", [name for group, name in ENTRIES if group == "dataset"])
def test_swapping_the_dataset_keeps_what_all_datasets_share(name, before):
    after = composed(f"dataset={name}", "dataset.resolution=32")
    for key in ("train_batch_size", "num_workers", "num_regions", "num_validation"):
        assert before.dataset[key] == after.dataset[key]
    assert (after.model.resolution, after.model.num_regions) == (32, after.dataset.num_regions)
    assert before.trainer == after.trainer


def test_the_page_of_data_sets_names_them_all():
    page = (Path(__file__).parents[1] / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {name for group, name in ENTRIES if group == "dataset"}


def test_experiment_and_mode_stack_and_the_command_line_wins():
    config = composed("+experiment=demo_exp", "+mode=overfit", "exp=mine", "trainer.max_train_steps=7")
    assert (config.dataset.overfit_items, config.exp, config.trainer.max_train_steps) == (8, "mine", 7)
    assert config.trainer.learning_rate == composed("+experiment=demo_exp").trainer.learning_rate


def test_the_documented_command_composes():
    config = composed(
        "+experiment=demo_exp",
        "dataset.train_batch_size=2",
        "dataset.validation_image=[data/conditioning_image_1.png,data/conditioning_image_2.png]",
        "dataset.validation_prompt=red circle with blue background",
        "trainer.eval_every_n_steps=10",
        "exp=example_exp_name",
        "tags=[example_tag_1,example_tag_2]",
    )
    assert config.dataset.validation_prompt == "red circle with blue background"
    assert config.dataset.validation_image == ["data/conditioning_image_1.png", "data/conditioning_image_2.png"]
    assert config.tags == ["example_tag_1", "example_tag_2"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_runs_one_step(experiment, tmp_path, monkeypatch, photographs):
    monkeypatch.chdir(tmp_path)
    for name, photograph in photographs.items():  # of the experiment that trains on some
        save_image(photograph, tmp_path / "data" / "photos" / f"{name}.png")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    runnable(train)(composed(f"+experiment={experiment}", "+mode=tiny", "trainer.max_train_steps=1", "exp=one_step"))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert (tmp_path / "outputs" / "one_step" / "pipeline" / "model_index.json").exists()


def answer(capsys, monkeypatch, *words: str) -> str:
    """Return what a command line that is refused prints."""
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    GlobalHydra.instance().clear()
    with pytest.raises(SystemExit) as stopped:
        main(train, STORE)
    assert stopped.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trainer.max_train_stepz=3"], ["the group 'trainer' has no key 'max_train_stepz'", "did you mean trainer.max_train_steps?"]),
        (["dataset=image_folder", "dataset.presset=hard"], ["the group 'dataset' has no key 'presset'", "on_bad_file"]),
        (["model.loss_weights.difusion=1"], ["the group 'model.loss_weights'", "did you mean model.loss_weights.diffusion?"]),
        (["max_train_steps=3"], ["the config has no key", "did you mean trainer.max_train_steps?"]),
        (["+experimnt=demo_exp"], ["no key or group 'experimnt'", "did you mean +experiment=?"]),
        (["+trainer.extra=1"], ["the group 'trainer' has no key 'extra'"]),
        (["dataset=scens"], ["Could not find 'dataset/scens'", "image_folder", "scenes"]),
        (["trainer.max_train_steps=abc"], ["trainer.max_train_steps: Value 'abc' of type 'str' could not be converted to Integer"]),
        (["trainer.mixed_precision=fp8"], ["trainer.mixed_precision=fp8", "'no', 'bf16' or 'fp16'"]),
        (["dataset.preset=harder"], ["dataset.preset=harder", "'simple', 'standard' or 'hard'"]),
        (["trainer.learning_rate=-1"], ["trainer.learning_rate=-1.0: must be above 0"]),
        (["dataset.segmenter=classical"], ["dataset.segmenter=classical", "Segmenter"]),
        (["dataset=image_folder"], ["dataset.root: has no value; give dataset.root="]),
        (["dataset.validation_image=[not_there.png]"], ["not_there.png", "does not exist"]),
        (["dataset.resolution=50"], ["resolution=50 is not a multiple of 8: 4 pixels a cell"]),
        (["exp=../elsewhere"], ["exp='../elsewhere'", "inside outputs/"]),
    ],
)
def test_mistakes_name_the_value_the_place_and_the_remedy(capsys, monkeypatch, tmp_path, words, said):
    monkeypatch.chdir(tmp_path)
    printed = answer(capsys, monkeypatch, *words)
    assert all(part in printed for part in said), printed
    assert "Traceback" not in printed
    assert not (tmp_path / "outputs").exists()


def processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["trainer.max_train_stepz=3"], 2)])
def test_help_and_typos_are_answered_quickly(repository, words, code):
    """In processor time: on an idle machine that is what a person waits, and a busy one does not spoil the measure."""
    start = processor_seconds()
    process = subprocess.run([sys.executable, "train.py", *words], cwd=repository, capture_output=True, text=True, check=False)
    assert process.returncode == code, process.stderr
    assert processor_seconds() - start < 6.0
    assert "trainer.max_train_steps" in process.stdout + process.stderr or "max_train_steps: 10000" in process.stdout
