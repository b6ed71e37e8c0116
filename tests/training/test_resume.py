"""Killed at any moment, the same command ends with the same bits; two processes do what one does with accumulation 2."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys

import pytest

from tests.training.toy import EPOCH, metrics, train


def _run(repository, *command):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=repository,
        env=environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_killed_at_random_steps_the_same_command_ends_with_the_same_bits(tmp_path, repository):
    options = {"max_train_steps": 90, "checkpointing_steps": 7, "gradient_accumulation_steps": 2}
    samples_per_step = 8
    steps = sorted(random.SystemRandom().sample(range(1, EPOCH // samples_per_step), 2))  # twice in the first epoch
    steps += sorted(random.SystemRandom().sample(range(20, 80), 3))
    process = _run(repository, "tests.training.toy", tmp_path / "killed", json.dumps(options), "--kill_at_lines", *steps)
    assert process.returncode == 0, process.stderr
    train(tmp_path / "whole", **options)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "whole"), steps
    for name in ("state/step_00000090", "pipeline"):
        for file in (tmp_path / "whole" / name).iterdir():
            assert file.read_bytes() == (tmp_path / "killed" / name / file.name).read_bytes(), (file.name, steps)


def test_two_processes_equal_one_with_twice_the_accumulation(tmp_path, repository):
    dynamic = {"enable_dynamic_grad_accum": True, "reference_num_processes": 4, "scale_lr_gpus_grad_accum": True, "max_train_steps": 6}
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_machines", 1, "--num_processes", 2, "--main_process_port", 0]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--module"]
    process = _run(repository, *launch, "tests.training.toy", tmp_path / "two", json.dumps(dynamic))
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines().count("num_processes 2") == 2
    state = json.loads((tmp_path / "two" / "state" / "step_00000006" / "state.json").read_text())
    assert (state["true_step"], state["position"]) == (12, 96)
    train(tmp_path / "one", **dynamic)
    for two, one in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
