"""The settings refuse what is out of range and compute accumulation and learning rate as documented."""

from __future__ import annotations

import sys

import pytest

from gen.training.trainer import DataSource, Trainable, Trainer
from tests.training.toy import ToyData, ToyDenoiser


@pytest.mark.parametrize(
    "field, value",
    [
        ("max_train_steps", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("lr_warmup_steps", -1),
        ("betas", (0.9, 1.0)),
        ("ema_decay", 1.5),
        ("checkpoints_total_limit", 0),
        ("eval_every_n_steps", 0),
    ],
)
def test_out_of_range_is_named(field, value):
    with pytest.raises(ValueError, match=f"trainer.{field}="):
        Trainer(**{field: value})


def test_accumulation_keeps_the_effective_batch_or_refuses():
    assert Trainer(gradient_accumulation_steps=3).accumulation(8) == 3
    dynamic = Trainer(gradient_accumulation_steps=3, enable_dynamic_grad_accum=True, reference_num_processes=4)
    assert {processes: dynamic.accumulation(processes) for processes in (1, 2, 3, 4, 6, 12)} == {1: 12, 2: 6, 3: 4, 4: 3, 6: 2, 12: 1}
    with pytest.raises(ValueError, match="does not divide by 5 processes"):
        dynamic.accumulation(5)


def test_learning_rate_scales():
    assert Trainer(learning_rate=0.5).scaled_learning_rate(4, 8) == 0.5
    assert Trainer(learning_rate=0.5, gradient_accumulation_steps=2, scale_lr_gpus_grad_accum=True).scaled_learning_rate(4, 8) == 4.0
    assert Trainer(learning_rate=0.5, scale_lr_batch_size=True).scaled_learning_rate(4, 8) == 4.0


def test_the_toy_keeps_the_protocols():
    assert isinstance(ToyDenoiser(), Trainable)
    assert isinstance(ToyData(), DataSource)


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"log_with=wandb: that package is not installed; pip install"):
        Trainer(log_with="wandb")
