"""Precisions, compilation and two processes on CUDA devices; what the same tests show on a CPU is in tests/training/test_scale.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"), pytest.mark.timeout(600)]
TINY = ("+experiment=demo_exp", "+mode=tiny")


def _train(repository, folder, *words, processes=1):
    """Train the tiny model in `folder`/outputs/<exp>; return the lines of its metrics.jsonl."""
    launch = ["--num_machines", 1, "--num_processes", processes, "--main_process_port", 0, "--mixed_precision", "no"]
    launch += ["--dynamo_backend", "no", *(["--multi_gpu"] if processes > 1 else [])]
    command = [sys.executable, "-m", "accelerate.commands.launch", *launch, repository / "train.py", *TINY, *words]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    done = subprocess.run([*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exp = next(word.removeprefix("exp=") for word in words if word.startswith("exp="))
    return [json.loads(line) for line in (folder / "outputs" / exp / "metrics.jsonl").read_text().splitlines()]


def _losses(lines):
    return [line["loss"] for line in lines]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_as_fp32_does_and_goes_on(tmp_path, repository, precision):
    words = [f"trainer.mixed_precision={precision}", "trainer.lr_scheduler=constant"]
    full = _train(repository, tmp_path, "trainer.lr_scheduler=constant", "trainer.max_train_steps=4", "exp=full")
    _train(repository, tmp_path, *words, "trainer.max_train_steps=2", "exp=half")
    half = _train(repository, tmp_path, *words, "trainer.max_train_steps=4", "exp=half")
    assert _losses(half) == pytest.approx(_losses(full), rel=0.1)
    newest = tmp_path / "outputs" / "half" / "state" / "step_00000004"
    scaler = json.loads((newest / "state.json").read_text())["scaler"]
    assert scaler is None if precision == "bf16" else scaler["scale"] > 0
    assert {tensor.dtype for tensor in load_file(newest / "model.safetensors").values() if tensor.is_floating_point()} == {torch.float32}


@pytest.mark.parametrize("distributed", ["ddp", "fsdp"])
def test_two_devices_equal_one_with_accumulation_two(tmp_path, repository, distributed):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    two = _train(repository, tmp_path, f"trainer.distributed={distributed}", "exp=two", processes=2)
    one = _train(repository, tmp_path, "trainer.gradient_accumulation_steps=2", "exp=one")
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-2)


def test_a_compiled_model_trains_as_it_does_uncompiled(tmp_path, repository):
    compiled = _train(repository, tmp_path, "trainer.compile=true", "exp=compiled")
    assert _losses(compiled) == pytest.approx(_losses(_train(repository, tmp_path, "exp=plain")), rel=1e-2)
