"""A toy-size training that runs out of memory, truly, when it takes too many samples at once. As a program it trains on every process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from gen.losses import LossTerms
from tests.training.toy import ToyBatch, ToyDenoiser, train


class ScarceDenoiser(ToyDenoiser):
    """From step 2 on asks for 2^60 bytes to train on more than `limit` samples; counts its forwards in a buffer."""

    limit = 2
    refusals = 0

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("forwards", torch.zeros(()))

    def forward(self, batch: ToyBatch, global_step: int) -> LossTerms:
        self.forwards += 1
        losses = super().forward(batch, global_step)
        if global_step >= 2 and len(batch.seeds) > self.limit:
            type(self).refusals += 1
            torch.empty(1 << 60, dtype=torch.uint8)
        return losses


if __name__ == "__main__":
    ScarceDenoiser.limit = 2 if os.environ["RANK"] == "1" else 4
    train(Path(sys.argv[1]), model_class=ScarceDenoiser, **json.loads(sys.argv[2]))
