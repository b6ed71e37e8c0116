"""The whole path at toy size, from a command line to a pipeline that loads; interrupted runs of the real model end with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from configs.hydra import runnable
from gen.models.pipeline import RegionPipeline
from gen.training.tracking import is_timing
from tests.one_step import composed
from train import train

TINY = ("+experiment=demo_exp", "+mode=tiny")


@pytest.fixture(autouse=True)
def _workplace(tmp_path, monkeypatch, photographs):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    (tmp_path / "data").mkdir()
    for number, name in enumerate(("chelsea", "coffee"), start=1):
        photographs[name].resize((90, 60)).save(tmp_path / "data" / f"conditioning_image_{number}.png")
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def run(*overrides: str) -> None:
    runnable(train)(composed(*TINY, *overrides))


def launch(repository: Path, num_processes: str, *words: str) -> None:
    flags = [word for word in words if word.startswith("--")]
    flags += [
        "--num_machines",
        "1",
        "--num_processes",
        num_processes,
        "--main_process_port",
        "0",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
    ]
    overrides = [word for word in words if not word.startswith("--")]
    command = [sys.executable, "-m", "accelerate.commands.launch", *flags, str(repository / "train.py"), *TINY, *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def metrics(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not is_timing(name)} for line in lines]


@pytest.mark.slow
def test_the_documented_command_runs_and_the_same_command_again_rests(tmp_path, repository, caplog):
    overrides = ["dataset.train_batch_size=2", "dataset.validation_image=[data/conditioning_image_1.png,data/conditioning_image_2.png]"]
    overrides += ["dataset.validation_prompt=red circle with blue background", "trainer.eval_every_n_steps=10"]
    overrides += ["exp=example_exp_name", "tags=[example_tag_1,example_tag_2]"]
    launch(repository, "1", *overrides)
    run(*overrides)
    assert "finished, 3 of 3 steps are done" in caplog.text
    folder = tmp_path / "outputs" / "example_exp_name"
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["example_exp_name"]
    assert list((folder / "previews").glob("step_00000003_*.png"))
    assert json.loads((folder / "config.json").read_text())["dataset"]["validation_prompt"] == "red circle with blue background"
    pipeline = RegionPipeline.from_pretrained(folder / "pipeline")
    assert (pipeline.resolution, pipeline.num_regions) == (32, 6)


EVERYTHING_RANDOM = (
    "model.decoder_tuning.parts=lora", "model.controlnet=true", "dataset.control=edges", "model/conditioner/layers=own_tokens",
    "model.layer_dropout=0.3", "model/heads=rotation_and_turn", "model.heads.heads.rotation.kind=six_d_diffusion",
    "model.loss_weights.rotation=0.1", "dataset.twin_probability=0.5", "dataset.view_probability=0.5", "dataset.depth_probability=0.5",
    "dataset.yaw_probability=0.5", "model.backbone_tuning.first_step=3",
)  # fmt: skip


@pytest.mark.parametrize("options", [pytest.param((), marks=pytest.mark.slow), EVERYTHING_RANDOM], ids=["demo", "everything_random"])
def test_an_interrupted_run_ends_with_the_same_bits_whatever_the_number_of_workers(tmp_path, options):
    constant = "trainer.lr_scheduler=constant"  # under any other schedule, more steps are another run
    run("exp=whole", constant, "trainer.max_train_steps=4", *options)
    for steps, workers in ((2, 0), (3, 1), (4, 0)):
        run("exp=parts", constant, f"trainer.max_train_steps={steps}", f"dataset.num_workers={workers}", *options)
    whole, parts = tmp_path / "outputs" / "whole", tmp_path / "outputs" / "parts"
    assert metrics(whole) == metrics(parts)
    files = [path.relative_to(whole) for path in (whole / "pipeline").rglob("*.safetensors")]
    files += [path.relative_to(whole) for path in (whole / "state" / "step_00000004").glob("*.safetensors")]
    assert len(files) >= 6
    for file in files:
        assert (whole / file).read_bytes() == (parts / file).read_bytes(), file


def test_a_signal_ends_train_py_with_the_code_that_says_start_it_again(tmp_path, repository):
    steps = ["trainer.max_train_steps=400", "trainer.eval_every_n_steps=1000", "trainer.checkpointing_steps=1000"]
    command = [sys.executable, str(repository / "train.py"), *TINY, *steps, "dataset.num_workers=1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        path = tmp_path / "outputs" / "tiny" / "metrics.jsonl"
        while not (path.exists() and path.read_text().count("\n") >= 2):
            time.sleep(0.05)
            assert process.poll() is None
        os.killpg(process.pid, signal.SIGUSR1)  # its loader worker too, as a scheduler does
        _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "outputs/tiny: stopped by SIGUSR1 after step" in said and "Traceback" not in said
    assert len(list((tmp_path / "outputs" / "tiny" / "state").iterdir())) == 1
    assert json.loads((tmp_path / "outputs" / "tiny" / "status.json").read_text())["status"] == "requeue"


@pytest.mark.slow
def test_the_weights_are_a_function_of_the_seed(tmp_path):
    for exp, seed in (("one", 1), ("again", 1), ("two", 2)):
        run(f"exp={exp}", f"seed={seed}", "trainer.max_train_steps=1")
    first = {exp: metrics(tmp_path / "outputs" / exp)[0] for exp in ("one", "again", "two")}
    assert first["one"] == first["again"] != first["two"]


def test_a_folder_of_another_config_is_refused_before_training(tiny_run, monkeypatch):
    monkeypatch.chdir(tiny_run.parents[1])
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")}
    with pytest.raises(ValueError, match=r"dataset.preset: simple -> hard"):
        run("dataset.preset=hard")
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*")} == before


@pytest.mark.slow
def test_two_processes_equal_one_with_accumulation_two(tmp_path, repository):
    launch(repository, "2", "exp=two", "--multi_gpu")
    run("exp=one", "trainer.gradient_accumulation_steps=2")
    state = [json.loads((tmp_path / "outputs" / exp / "state" / "step_00000003" / "state.json").read_text()) for exp in ("one", "two")]
    assert [(entry["true_step"], entry["position"]) for entry in state] == [(6, 12), (3, 12)]
    start = json.loads((tmp_path / "outputs" / "two" / "start.json").read_text())
    assert (start["num_processes"], start["num_machines"]) == (2, 1)
    assert start["environment"] == {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    for two, one in zip(metrics(tmp_path / "outputs" / "two"), metrics(tmp_path / "outputs" / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-4)
