"""The `evaluation` group: what is measured after training; nothing unless an entry is chosen."""

from __future__ import annotations

from hydra_zen import ZenStore

from configs.store import full
from gen.evaluation.evaluation import Evaluation


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    store(full(Evaluation), group="evaluation", name="counterfactuals")
