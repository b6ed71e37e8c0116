"""However the work is shared out (sharded, in smaller micro-batches, checkpointed, compiled) a run does what one process does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from accelerate.state import AcceleratorState
from hydra_zen import instantiate
from safetensors.torch import load_file

from configs.checks import checked
from configs.hydra import runnable
from gen.artefact import verify_folder
from gen.training.trainer import Trainer, TrainerError
from tests.one_step import TINY, composed
from tests.training.scarce_toy import ScarceDenoiser
from tests.training.toy import ToyData, metrics, train
from train import train as train_from_config

LAUNCH = ("accelerate.commands.launch", "--multi_gpu", "--num_machines", 1, "--num_processes", 2, "--main_process_port", 0)
LAUNCH += ("--mixed_precision", "no", "--dynamo_backend", "no")


def _launch(repository, *words, folder=None):
    """Start two processes; return what became of them."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(repository)}
    command = [sys.executable, "-m", *map(str, (*LAUNCH, *words))]
    return subprocess.run(command, cwd=folder or repository, env=environment, capture_output=True, text=True, timeout=110, check=False)


def _toys(repository, folder, options, *words):
    return _launch(repository, "--module", "tests.training.toy", folder, json.dumps(options), *words)


def _tensors(folder):
    newest = sorted((folder / "state").iterdir())[-1]
    files = {path.name: load_file(path) for path in (*newest.glob("*.safetensors"), *(folder / "pipeline").rglob("*.safetensors"))}
    return {(file, name): tensor.clone() for file, tensors in files.items() for name, tensor in tensors.items()}


def _assert_close(one, other):
    for a, b in zip(metrics(one), metrics(other), strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    tensors, others = _tensors(one), _tensors(other)
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        torch.testing.assert_close(tensor, others[name], rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


def _assert_same(one, other):
    assert metrics(one) == metrics(other)
    tensors, others = _tensors(one), _tensors(other)
    assert tensors.keys() == others.keys()
    assert [name for name, tensor in tensors.items() if not torch.equal(tensor, others[name])] == []


@pytest.mark.slow
def test_a_sharded_run_stops_goes_on_and_is_continued_unsharded_and_sharded_again(tmp_path, repository):
    options = {"enable_dynamic_grad_accum": True, "reference_num_processes": 2, "checkpointing_steps": 20, "eval_every_n_steps": 6}
    sharded = options | {"distributed": "fsdp"}
    stopped = _toys(repository, tmp_path / "run", sharded | {"max_train_steps": 12}, "--signal_in_step", 4)
    assert "exitcode  : 75" in stopped.stderr, stopped.stderr
    ended = _toys(repository, tmp_path / "run", sharded | {"max_train_steps": 12})
    assert ended.stdout.splitlines().count("num_processes 2") == 2, ended.stderr
    train(tmp_path / "one", max_train_steps=12, **options)
    _assert_close(tmp_path / "run", tmp_path / "one")
    updates = _tensors(tmp_path / "run")["optimizer.safetensors", "null/step"]
    assert updates == _tensors(tmp_path / "one")["optimizer.safetensors", "null/step"] < 12  # in some steps no process used it
    verify_folder(tmp_path / "run" / "pipeline")
    names = [path.name for path in sorted((tmp_path / "run" / "previews").iterdir())]
    assert names == ["step_00000006_painted.png", "step_00000012_painted.png"]

    train(tmp_path / "run", max_train_steps=16, **options)  # one process, without sharding
    ended = _toys(repository, tmp_path / "run", sharded | {"max_train_steps": 20})
    assert ended.returncode == 0, ended.stderr
    train(tmp_path / "whole", max_train_steps=20, **options)
    _assert_close(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_the_real_model_sharded_equals_one_process_with_accumulation_two(tmp_path, repository, monkeypatch):
    """With checkpointed and recorded attention, and losses that begin late: until then whole blocks do not run."""
    words = ["+experiment=demo_exp", "+mode=tiny", "model.decoder.gradient_checkpointing=true"]
    words += ["model.loss_weights.first_steps={masked_diffusion:1,per_region_diffusion:1}"]
    words += ["model.loss_weights.attention_region=0.1", "+model.loss_weights.first_steps.attention_region=1"]
    done = _launch(repository, repository / "train.py", *words, "trainer.distributed=fsdp", "exp=two", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(tmp_path)
    runnable(train_from_config)(composed(*words, "trainer.gradient_accumulation_steps=2", "exp=one"))
    _assert_close(tmp_path / "outputs" / "two", tmp_path / "outputs" / "one")


def test_one_process_has_nothing_to_shard(tmp_path):
    train(tmp_path / "ddp")
    train(tmp_path / "fsdp", distributed="fsdp")
    _assert_same(tmp_path / "ddp", tmp_path / "fsdp")


def test_a_micro_batch_that_fits_is_found_and_kept(tmp_path):
    options = {"max_train_steps": 7, "gradient_accumulation_steps": 2, "checkpointing_steps": 3}
    train(tmp_path / "found", model_class=ScarceDenoiser, auto_micro_batch=True, **options)
    state = json.loads((tmp_path / "found" / "state" / "step_00000007" / "state.json").read_text())
    assert [state[name] for name in ("micro_batch", "effective_batch", "true_step", "position")] == [2, 8, 28, 56]
    given = options | {"gradient_accumulation_steps": 4}
    train(tmp_path / "given", data=ToyData(train_batch_size=2), model_class=ScarceDenoiser, **given)
    _assert_same(tmp_path / "found", tmp_path / "given")  # the same samples, and the trial left no trace in weights, buffers or draws

    refusals = ScarceDenoiser.refusals
    train(tmp_path / "parts", model_class=ScarceDenoiser, auto_micro_batch=True, **options | {"max_train_steps": 4})
    assert ScarceDenoiser.refusals == refusals + 1
    train(tmp_path / "parts", model_class=ScarceDenoiser, auto_micro_batch=True, **options)
    assert ScarceDenoiser.refusals == refusals + 1, "a resumed run does not try again"
    _assert_same(tmp_path / "found", tmp_path / "parts")


def test_where_everything_fits_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(ScarceDenoiser, "limit", 4)
    for automatic in (True, False):
        train(tmp_path / str(automatic), model_class=ScarceDenoiser, auto_micro_batch=automatic)
    _assert_same(tmp_path / "True", tmp_path / "False")


def test_a_sample_that_does_not_fit_alone_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ScarceDenoiser, "limit", 0)
    with pytest.raises(TrainerError, match="not even one sample fits into the memory of cpu; train with trainer.mixed_precision=bf16"):
        train(tmp_path / "run", model_class=ScarceDenoiser, auto_micro_batch=True)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock", "status.json"]


@pytest.mark.slow
def test_all_processes_take_the_micro_batch_of_the_smallest_memory(tmp_path, repository):
    options = {"auto_micro_batch": True, "max_train_steps": 5}
    done = _launch(repository, "--module", "tests.training.scarce_toy", tmp_path / "two", json.dumps(options))
    assert done.returncode == 0, done.stderr
    train(tmp_path / "one", data=ToyData(train_batch_size=2), gradient_accumulation_steps=4, max_train_steps=5)
    for two, one in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)


def test_a_micro_batch_cannot_be_tried_by_processes_that_share_a_model():
    with pytest.raises(ValueError, match="auto_micro_batch=true with trainer.distributed=fsdp: .* set dataset.train_batch_size"):
        Trainer(auto_micro_batch=True, distributed="fsdp")


def test_fp16_needs_a_gpu(tmp_path):
    with pytest.raises(TrainerError, match="trainer.mixed_precision=fp16 needs a GPU; on a CPU take bf16"):
        train(tmp_path / "run", mixed_precision="fp16")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launcher_that_distributes_in_its_own_way_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(TrainerError, match=f"ACCELERATE_USE_{name}=true, but trainer.distributed=ddp: start accelerate launch without"):
        train(tmp_path / "run")


# (overrides, whether every trained parameter gets a gradient at every step)
USES = [
    ("", True),
    ("+experiment=demo_exp", True),  # the tiny mode lets no loss begin late
    ("+experiment=demo_exp model.loss_weights.first_steps={masked_diffusion:3,per_region_diffusion:3}", False),
    ("+experiment=demo_exp model.loss_weights.first_steps.masked_diffusion=3", True),  # another loss of the picture is there
    ("model.region_dropout=0.95 model.conditioning_dropout=0.5 model.text_dropout=0.9", True),
    ("model.decoder_tuning.parts=lora model.controlnet=true dataset.control=outlines model.control_dropout=0.9", True),
    ("model.decoder_tuning.first_step=2 model.encoder_tuning.last_step=1 model.backbone_tuning.last_step=1", True),
    ("model/conditioner/layers=own_tokens model.layer_dropout=0.9 model/conditioner/gate=tanh", True),
    ("model/heads=classes_and_rotation model.loss_weights.classes=0.1 model.loss_weights.rotation=0.1", True),
    ("model/heads=classes model.loss_weights.classes=0.1 +model.loss_weights.first_steps.classes=2", False),
    ("model/heads=rotation model.loss_weights={masked_diffusion:0,per_region_diffusion:0,rotation:1}", False),  # nothing is painted
    ("model/conditioner/text=pretrained model.conditioner.text.weights=STABLE_DIFFUSION", False),  # no caption names a region
    ("model/conditioner/text=pretrained model.conditioner.text.weights=STABLE_DIFFUSION model.conditioner.text.region_width=null", True),
]  # fmt: skip


@pytest.mark.parametrize("row, uses_all", USES)
def test_the_model_knows_whether_it_uses_all_its_parameters(row, uses_all, stable_diffusion):
    words = row.replace("STABLE_DIFFUSION", str(stable_diffusion)).split()
    experiment = [word for word in words if word.startswith("+experiment=")]  # the mode has the last word on these
    config = composed(*experiment, *TINY, "trainer.max_train_steps=9", *(word for word in words if word not in experiment))
    torch.manual_seed(0)
    dataset, model = (instantiate(part, _target_wrapper_=checked) for part in (config.dataset, config.model))
    assert model.uses_all_parameters == uses_all
    unused: set[str] = set()
    for step, batch in zip(range(6), dataset.train_batches(seed=0), strict=False):
        model.zero_grad()
        model.train()(batch, step).total.backward()
        unused |= {name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None}
    assert (not unused) == uses_all, sorted(unused)[:5]


def test_gradient_checkpointing_changes_no_bit_of_loss_and_gradients():
    gradients = []
    for checkpointing in ("false", "true"):
        config = composed("+experiment=demo_exp", *TINY, f"model.decoder.gradient_checkpointing={checkpointing}")
        torch.manual_seed(0)
        dataset, model = (instantiate(part, _target_wrapper_=checked) for part in (config.dataset, config.model))
        assert model.decoder.unet.is_gradient_checkpointing == (checkpointing == "true")
        losses = model.train()(next(dataset.train_batches(seed=0)), 0)
        losses.total.backward()
        gradients.append({"loss": losses.total} | {name: parameter.grad for name, parameter in model.named_parameters()})
    plain, checkpointed = gradients
    assert [name for name, value in plain.items() if not torch.equal(value, checkpointed[name])] == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_compiled_run_resumes_exactly_and_two_processes_equal_one(tmp_path, repository, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    options = {"compile": True, "checkpointing_steps": 3, "enable_dynamic_grad_accum": True, "reference_num_processes": 2}
    train(tmp_path / "whole", max_train_steps=6, **options)
    train(tmp_path / "parts", max_train_steps=3, **options)
    AcceleratorState._reset_state(reset_partial_state=True)
    train(tmp_path / "parts", max_train_steps=6, **options)
    _assert_same(tmp_path / "whole", tmp_path / "parts")
    for distributed in ("ddp", "fsdp"):
        done = _toys(repository, tmp_path / distributed, options | {"max_train_steps": 6, "distributed": distributed})
        assert done.returncode == 0, done.stderr
        _assert_close(tmp_path / distributed, tmp_path / "whole")
