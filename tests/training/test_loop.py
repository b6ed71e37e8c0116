"""One run from start to end: what it writes, what it refuses, what it does with a loss that is not finite."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gen.artefact import ArtefactError, verify_folder
from gen.run_files import BITS
from gen.training.run_folder import RunFolderError
from gen.training.trainer import Trainer
from tests.training.toy import ToyBatch, ToyData, ToyDenoiser, metrics, no_previews, train


def _tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _weights(folder):
    newest = sorted((folder / "state").iterdir())[-1]
    names = ("model", "optimizer", "ema")
    return {name: {key: value.clone() for key, value in load_file(newest / f"{name}.safetensors").items()} for name in names}


def _same(a, b):
    return a.keys() == b.keys() and all(
        a[name].keys() == b[name].keys() and all(torch.equal(a[name][key], b[name][key]) for key in a[name]) for name in a
    )


def test_a_run_writes_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "train.py", raising=False)  # so it is where a script trains
    monkeypatch.setattr(sys, "argv", [str(Path.cwd() / "train.py"), "tags=[a word]"])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = train(
        tmp_path, max_train_steps=5, checkpointing_steps=2, checkpoints_total_limit=2, eval_every_n_steps=4, gradient_accumulation_steps=3
    )
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        "config.json",
        "lock",
        "metrics.jsonl",
        "pipeline",
        "previews",
        "start.json",
        "state",
        "status.json",
    ]
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["step_00000004", "step_00000005"]
    assert [path.name for path in sorted((tmp_path / "previews").iterdir())] == ["step_00000004_painted.png", "step_00000005_painted.png"]
    start = json.loads((tmp_path / "start.json").read_text())
    assert (start["words"], start["working_directory"]) == (["train.py", "tags=[a word]"], str(Path.cwd()))
    assert (start["num_processes"], start["num_machines"], start["global_step"]) == (1, 1, 0)
    assert start["environment"]["OMP_NUM_THREADS"] == "1"
    state = json.loads((tmp_path / "state" / "step_00000005" / "state.json").read_text())
    assert (state["global_step"], state["true_step"], state["position"]) == (5, 15, 60)
    lines = metrics(tmp_path)
    assert [line["global_step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["loss"] == pytest.approx(lines[0]["diffusion"] + 0.1 * lines[0]["size"])
    verify_folder(tmp_path / "pipeline")
    average = load_file(tmp_path / "pipeline" / "model.safetensors")["weight"]
    assert torch.equal(average, _weights(tmp_path)["ema"]["encode.weight"])
    assert not torch.equal(average, model.encode.weight)
    assert set(_weights(tmp_path)["ema"]) == {"encode.weight", "encode.bias", "null"}  # nothing frozen


def test_training_lowers_the_loss_and_the_average_follows(tmp_path):
    train(tmp_path, max_train_steps=300, log_every_n_steps=1, checkpointing_steps=300)
    losses = [line["loss"] for line in metrics(tmp_path)]
    assert sum(losses[-100:]) / 100 < 0.65 * (1 / 3)  # 1/3 is the mean square of the pictures: the loss of painting grey
    weights = _weights(tmp_path)
    torch.manual_seed(0)
    first, last = ToyDenoiser().encode.weight, weights["model"]["encode.weight"]
    assert (weights["ema"]["encode.weight"] - last).norm() < 0.5 * (first - last).norm()


def test_a_resumed_run_equals_an_uninterrupted_one_and_a_finished_one_rests(tmp_path):
    options = {"checkpointing_steps": 3, "lr_warmup_steps": 5}
    train(tmp_path / "whole", max_train_steps=8, **options)
    train(tmp_path / "parts", max_train_steps=3, **options)
    train(tmp_path / "parts", max_train_steps=8, **options)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "parts"))
    before = _tree(tmp_path / "parts")
    train(tmp_path / "parts", max_train_steps=8, **options)
    assert _tree(tmp_path / "parts") == before
    shutil.rmtree(tmp_path / "parts" / "pipeline")
    train(tmp_path / "parts", max_train_steps=8, **options)
    assert _tree(tmp_path / "parts") == before


def test_what_a_launcher_says_to_its_processes_is_no_part_of_the_command(tmp_path, monkeypatch):
    monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)  # a notebook, whose words start nothing
    for name in [name for name in os.environ if name.startswith(BITS)]:
        monkeypatch.delenv(name)
    for name, value in {"ACCELERATE_DYNAMO_BACKEND": "no", "ACCELERATE_USE_CPU": "True", "KMP_BLOCKTIME": "1", "MKL_CBWR": "AVX2"}.items():
        monkeypatch.setenv(name, value)
    train(tmp_path, max_train_steps=1)
    start = json.loads((tmp_path / "start.json").read_text())
    assert start["environment"] == {"MKL_CBWR": "AVX2", "ACCELERATE_USE_CPU": "true"}
    assert start["words"] == []


def test_a_start_keeps_with_how_many_processes_the_run_began(tmp_path):
    options = {"lr_scheduler": "constant"}
    train(tmp_path, max_train_steps=2, **options)
    start = json.loads((tmp_path / "start.json").read_text())
    assert start["first_num_processes"] == start["num_processes"] == 1
    (tmp_path / "start.json").write_text(json.dumps(start | {"first_num_processes": 4, "num_processes": 4}))
    train(tmp_path, max_train_steps=3, **options)
    start = json.loads((tmp_path / "start.json").read_text())
    assert (start["first_num_processes"], start["num_processes"], start["global_step"]) == (4, 1, 2)
    (tmp_path / "start.json").write_text("damaged")
    train(tmp_path, max_train_steps=4, **options)
    assert json.loads((tmp_path / "start.json").read_text())["first_num_processes"] == 1


def test_a_decaying_learning_rate_resumes_exactly(tmp_path):
    options = {"max_train_steps": 6, "lr_scheduler": "cosine", "checkpointing_steps": 4}
    train(tmp_path / "whole", **options)
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(tmp_path / "parts" / "state" / "step_00000006")
    train(tmp_path / "parts", **options)
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    assert _same(_weights(tmp_path / "whole"), _weights(tmp_path / "parts"))


def test_a_folder_with_another_config_is_refused_and_left_as_it_was(tmp_path):
    train(tmp_path, max_train_steps=2, weight_decay=0.1)
    before = _tree(tmp_path)
    with pytest.raises(RunFolderError, match=r"trainer.weight_decay: 0.1 -> 0.2"):
        train(tmp_path, max_train_steps=2, weight_decay=0.2)
    with pytest.raises(RunFolderError, match=r"dataset.train_batch_size: 4 -> 2"):
        train(tmp_path, data=ToyData(train_batch_size=2), max_train_steps=2, weight_decay=0.1)
    with pytest.raises(RunFolderError, match=r"trainer.max_train_steps: 2 -> 3"):  # the schedule would be another one
        train(tmp_path / "cosine", max_train_steps=2, lr_scheduler="cosine")
        train(tmp_path / "cosine", max_train_steps=3, lr_scheduler="cosine")
    shutil.rmtree(tmp_path / "cosine")
    assert _tree(tmp_path) == before
    (tmp_path / "config.json").unlink()
    with pytest.raises(RunFolderError, match="without its config.json"):
        train(tmp_path, max_train_steps=2, weight_decay=0.1)


class _HugeDenoiser(ToyDenoiser):
    """Claims 2^57 bytes without taking any memory."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("huge", torch.zeros(()).expand(1 << 55))


def test_too_little_disk_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ArtefactError, match="are needed and"):
        Trainer(max_train_steps=1).fit(_HugeDenoiser(), ToyData(), no_previews, folder=tmp_path / "run", config={}, seed=0)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["lock", "status.json"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "delete", "manifest"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path, caplog, damage):
    options = {"max_train_steps": 4, "checkpointing_steps": 2}
    train(tmp_path, **options)
    whole, lines = _weights(tmp_path), metrics(tmp_path)
    file = tmp_path / "state" / "step_00000004" / ("manifest.json" if damage == "manifest" else "optimizer.safetensors")
    content = file.read_bytes()
    if damage in ("delete", "manifest"):
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(content[:-3])
    else:
        file.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    train(tmp_path, **options)
    assert str(file) in caplog.text
    assert metrics(tmp_path) == lines
    assert _same(_weights(tmp_path), whole)


def test_a_run_with_only_damaged_checkpoints_does_not_start_again_unasked(tmp_path):
    train(tmp_path, max_train_steps=2)
    (tmp_path / "state" / "step_00000002" / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match="all 1 checkpoints are damaged"):
        train(tmp_path, max_train_steps=2)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_its_samples(tmp_path):
    options = {"max_train_steps": 6, "checkpointing_steps": 2, "gradient_accumulation_steps": 2}
    poisoned = ToyData(poisoned=26)  # in global step 3 of 8 samples each
    with pytest.raises(FloatingPointError, match="global step 3: loss nan"):
        train(tmp_path, data=poisoned, **options)
    record = json.loads((tmp_path / "nonfinite" / "step_00000003_rank_0.json").read_text())
    assert record["seeds"] == list(range(24, 32))
    assert [path.name for path in sorted((tmp_path / "state").iterdir())] == ["step_00000002"]
    with pytest.raises(FloatingPointError):  # the same command again meets the same samples
        train(tmp_path, data=poisoned, **options)


def test_a_loss_that_is_not_finite_can_be_skipped(tmp_path):
    train(tmp_path, data=ToyData(poisoned=26), max_train_steps=6, gradient_accumulation_steps=2, on_nonfinite="skip")
    assert all(torch.isfinite(tensor).all() for tensors in _weights(tmp_path).values() for tensor in tensors.values())
    assert [path.name for path in (tmp_path / "nonfinite").iterdir()] == ["step_00000003_rank_0.json"]
    assert [line["loss"] for line in metrics(tmp_path) if line["global_step"] == 4] != [None]


def test_bf16_trains_with_fp32_losses_and_weights(tmp_path):
    model = train(tmp_path, mixed_precision="bf16")
    assert model.encode.weight.dtype == torch.float32
    batch = ToyBatch(torch.zeros(2, 3, 2, 2), torch.zeros(2))
    assert model(batch, 0).total.dtype == torch.float32


def test_tensorboard_receives_numbers_and_pictures(tmp_path):
    train(tmp_path, log_with="tensorboard", eval_every_n_steps=2)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(path.parent for path in tmp_path.rglob("events.out.tfevents*"))
    events = EventAccumulator(str(folder)).Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Images("painted")] == [2, 4]


@pytest.mark.slow
def test_wandb_runs_offline_without_a_key(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    train(tmp_path / "run", log_with="wandb", eval_every_n_steps=2)
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


class StagedDenoiser(ToyDenoiser):
    """Trains its null embedding from step 2 on, its encoder before step 3."""

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        null, encoder = super().parameter_groups(learning_rate)
        return [null | {"first_step": 2}, encoder | {"last_step": 3}]


def test_a_group_is_trained_between_its_first_and_its_last_step_only(tmp_path):
    data, values = ToyData(), {}
    for steps in range(1, 6):
        torch.manual_seed(0)
        model = StagedDenoiser()
        options = {"learning_rate": 0.01, "lr_warmup_steps": 0, "lr_scheduler": "constant"}
        trainer = Trainer(max_train_steps=steps, **options)
        trainer.fit(model, data, no_previews, folder=tmp_path / "run", config={}, seed=5)  # resumes at every step
        values[steps] = (model.null.detach().clone(), model.encode.weight.detach().clone())
    null, encoder = zip(*values.values(), strict=True)
    assert not null[0].any() and not null[1].any() and null[2].any() and not torch.equal(null[3], null[4])
    assert not torch.equal(encoder[0], encoder[1]) and not torch.equal(encoder[1], encoder[2])
    assert torch.equal(encoder[2], encoder[3]) and torch.equal(encoder[3], encoder[4])
