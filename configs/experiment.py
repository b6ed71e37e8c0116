"""The `experiment` group: overlays that stack (`+experiment=demo_exp +mode=tiny`), each with its source, figures, hardware and command."""

from __future__ import annotations

from typing import Any

from hydra_zen import ZenStore


def demo_exp() -> dict[str, Any]:
    """Train the small model on simple rendered scenes in about ten minutes on two CPU cores.

    Source: this project's own recipe: clean-sample prediction in pixel space, layout map, source context.
    Expected: see the table in README.
    Hardware: 2 CPU cores, about 2 GB of memory, no download.
    Command: python train.py +experiment=demo_exp
    """
    return {
        "exp": "demo_exp",
        "trainer": {
            "max_train_steps": 2000,
            "learning_rate": 1e-3,
            "mixed_precision": "bf16",
            "eval_every_n_steps": 500,
            "checkpointing_steps": 250,
        },
        "dataset": {"resolution": 64, "train_batch_size": 16},  # only what all datasets share, so that `dataset=...` alone swaps it
    }


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    for experiment in (demo_exp,):
        store(experiment(), group="experiment", name=experiment.__name__, package="_global_")
