"""The `trainer` group: the training loop's settings."""

from __future__ import annotations

from hydra_zen import ZenStore

from configs.store import full
from gen.training.trainer import Trainer


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    store(full(Trainer), group="trainer", name="base")
