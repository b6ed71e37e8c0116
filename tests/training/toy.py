"""A toy-size real training: a small denoiser on made-up pictures. As a program it trains, and kills or signals itself on request."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from gen.losses import LossTerms
from gen.training import loop
from gen.training.interruption import REQUEUE_EXIT_CODE, Interrupted
from gen.training.tracking import is_timing
from gen.training.trainer import Trainer

EPOCH = 100
assert loop  # imported before the forks, which then begin at once


@dataclass(frozen=True)
class ToyBatch:
    pixel_values: Tensor
    seeds: Tensor

    def to(self, device) -> ToyBatch:
        return replace(self, pixel_values=self.pixel_values.to(device), seeds=self.seeds.to(device))


@dataclass
class ToyData:
    """Shuffled epochs of made-up pictures; everything follows from (seed, position).

    Attributes:
        train_batch_size: samples a process and forward.
        poisoned: the picture at this position holds a NaN.
    """

    train_batch_size: int = 4
    poisoned: int | None = None

    def train_batches(self, *, seed: int, rank: int, num_processes: int, start: int) -> Iterator[ToyBatch]:
        position = start + rank * self.train_batch_size
        while True:
            yield self._batch(seed, range(position, position + self.train_batch_size))
            position += self.train_batch_size * num_processes

    def validation_batch(self) -> ToyBatch:
        return self._batch(-1, range(self.train_batch_size))

    def _batch(self, seed: int, positions: range) -> ToyBatch:
        pictures = []
        for position in positions:
            order = torch.randperm(EPOCH, generator=torch.Generator().manual_seed(position // EPOCH))
            generator = torch.Generator().manual_seed(1000 * (seed + 2) + int(order[position % EPOCH]))
            picture = (torch.rand(1, generator=generator) * 2 - 1).expand(3, 2, 2)
            pictures.append(picture * torch.nan if position == self.poisoned else picture)
        return ToyBatch(torch.stack(pictures), torch.tensor(positions))


class ToyDenoiser(nn.Module):
    """Predict the clean picture; dropout, a condition that is sometimes absent, a frozen part, tied weights."""

    uses_all_parameters = False

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(12, 12).requires_grad_(False)
        self.encode = nn.Linear(12, 12)
        self.tied = self.encode
        self.null = nn.Parameter(torch.zeros(12))
        self.dropout = nn.Dropout(0.2)

    def parameter_groups(self, learning_rate: float) -> list[dict]:
        return [
            {"params": [self.null], "lr": 2 * learning_rate, "weight_decay": 0.0},
            {"params": list(self.encode.parameters())},
        ]

    def forward(self, batch: ToyBatch, global_step: int) -> LossTerms:
        clean = batch.pixel_values.flatten(1)
        time = torch.rand(len(clean), 1)
        noised = (1 - time) * clean + time * torch.randn_like(clean)
        condition = self.null if torch.rand(()) < 0.5 else 0.0
        prediction = self.tied(self.dropout(self.encode(self.frozen(noised)) + condition))
        diffusion = (prediction.float() - clean).square().mean()
        size = prediction.float().square().mean()
        return LossTerms(diffusion + 0.1 * size, {"diffusion": diffusion, "size": size})

    def preview(self, batch: ToyBatch, previews: object) -> dict[str, Image.Image]:
        painted = self.encode(batch.pixel_values.flatten(1))[0].clamp(-1, 1)
        pixels = ((painted.float().unflatten(0, (3, 2, 2)).permute(1, 2, 0) + 1) * 127.5).byte()
        return {"painted": Image.fromarray(pixels.numpy())}

    def save_pipeline(self, folder: Path) -> None:
        save_file({"weight": self.encode.weight}, folder / "model.safetensors")


class SignalledDenoiser(ToyDenoiser):
    """Signals its own process in the forwards of some global steps, as a scheduler might in the middle of a step."""

    signal_number = signal.SIGTERM
    steps: tuple[int, ...] = ()

    def forward(self, batch: ToyBatch, global_step: int) -> LossTerms:
        if self.training and global_step in self.steps:
            os.kill(os.getpid(), self.signal_number)
        return super().forward(batch, global_step)


def no_previews(pipeline: object, batch: ToyBatch, num_inference_steps: int) -> dict[str, Image.Image]:
    """Draw nothing: the toy has no pipeline, and draws its own."""
    return {}


def train(folder: Path, *, data: ToyData | None = None, model_class: type[ToyDenoiser] = ToyDenoiser, **options) -> ToyDenoiser:
    """Train a toy in `folder` and return it."""
    data = data or ToyData()
    torch.manual_seed(0)
    model = model_class()
    trainer = Trainer(**{"max_train_steps": 4, "log_every_n_steps": 1, "learning_rate": 0.01, "lr_warmup_steps": 2} | options)
    config = {"trainer": {"lr_scheduler": trainer.lr_scheduler} | options, "dataset": {"train_batch_size": data.train_batch_size}}
    trainer.fit(model, data, no_previews, folder=Path(folder), config=config, seed=5)
    return model


def metrics(folder: Path) -> list[dict]:
    """Return the lines of metrics.jsonl without what a clock measured."""
    lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not is_timing(name)} for line in lines]


def _train_in_child(folder: Path, options: dict, killed_at_line: int | None) -> int:
    """Train in a forked process and SIGKILL it as soon as metrics.jsonl has so many lines; return its exit status."""
    child = os.fork()
    if child == 0:
        train(folder, **options)
        os._exit(0)
    path = folder / "metrics.jsonl"
    while killed_at_line is not None and not (path.exists() and path.read_bytes().count(b"\n") >= killed_at_line):
        time.sleep(0.0005)
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "finished before it could be killed"
    if killed_at_line is not None:
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main() -> None:
    """Train as the command line says; with --kill_at_lines in forked processes that are killed, then once to the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("options", type=json.loads)
    parser.add_argument("--kill_at_lines", type=int, nargs="*")
    parser.add_argument("--signal_in_step", type=int, help="SIGUSR1, to the last process only")
    arguments = parser.parse_args()
    if arguments.kill_at_lines is None:
        chosen = os.environ.get("RANK", "0") == str(int(os.environ.get("WORLD_SIZE", "1")) - 1) and arguments.signal_in_step is not None
        SignalledDenoiser.signal_number, SignalledDenoiser.steps = signal.SIGUSR1, (arguments.signal_in_step,) if chosen else ()
        try:
            train(arguments.folder, model_class=SignalledDenoiser, **arguments.options)
        except Interrupted:
            sys.exit(REQUEUE_EXIT_CODE)
        print(f"num_processes {PartialState().num_processes}\n", end="", flush=True)  # in one write: both ranks share the pipe
        return
    for line in arguments.kill_at_lines:
        status = _train_in_child(arguments.folder, arguments.options, line)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    assert _train_in_child(arguments.folder, arguments.options, None) == 0


if __name__ == "__main__":
    main()
