"""Measure what the account of a step costs: the same step with it and without it, in pairs; then the sections by themselves.

python scripts/benchmark_sections.py +experiment=demo_exp        the words are train.py's; nothing is learned or written
Processor times of one thread, so that other programs disturb little. All steps see one batch; which of a pair comes first is drawn.
"""

from __future__ import annotations

import random
from contextlib import nullcontext
from time import process_time
from typing import Any

import torch

from configs import build_store
from configs.hydra import main
from gen.data.region_data import RegionData
from gen.evaluation.intervals import bootstrap
from gen.sections import open_account, section
from gen.training.trainer import Trainer


def measure(trainer: Trainer, dataset: RegionData, model: Any, seed: int) -> None:
    """Print medians over pairs: 40 of steps, 2,000 of the sections of a step of gen/training/loop.py."""
    optimizer = torch.optim.AdamW(model.parameter_groups(0.0), fused=True)  # a learning rate of 0: every step is the same
    batch = next(dataset.train_batches(seed=seed))

    def sections() -> None:
        for name in ("data", "forward", "encode", "decode", "backward", "logging", "optimizer", "logging"):
            with section(name):
                pass

    def step() -> None:
        sections()  # and two more, of the model
        with torch.autocast("cpu", torch.bfloat16, enabled=trainer.mixed_precision == "bf16"):
            model(batch, trainer.max_train_steps - 1).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    steps, alone = pairs(step, 42)[2:], pairs(sections, 2000)  # the first two steps warm up
    ratio, (heard, unheard) = bootstrap(steps[:, 0] / steps[:, 1], "median"), steps.median(0).values.tolist()
    print(f"step: {heard:.3f} s with account, {unheard:.3f} s without; ratio {ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]")
    print("sections alone: {:.4%} of a step with account, {:.4%} without".format(*(alone.median(0).values / unheard).tolist()))


def pairs(work: Any, count: int) -> torch.Tensor:
    """Return the seconds of `work` in `count` rows: with an account that hears it and is read, and without."""
    rows = torch.zeros(count, 2, dtype=torch.float64)
    for row, column in ((row, column) for row in rows for column in random.sample((0, 1), 2)):
        begin = process_time()
        with open_account(torch.device("cpu")) if column == 0 else nullcontext() as account:
            work()
            _ = account.read() if account else {}
        row[column] = process_time() - begin
    return rows


if __name__ == "__main__":
    main(measure, build_store())
