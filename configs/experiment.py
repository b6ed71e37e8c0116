"""The `experiment` group: overlays that stack (`+experiment=demo_exp +mode=tiny`), each with its source, figures, hardware and command."""

from __future__ import annotations

from typing import Any

from hydra_zen import ZenStore

from configs.store import merged


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
            "max_train_steps": 1400,
            "learning_rate": 1e-3,
            "lr_scheduler": "cosine",
            "mixed_precision": "bf16",
            "eval_every_n_steps": 350,
            "checkpointing_steps": 350,
        },
        "dataset": {"resolution": 64, "train_batch_size": 16},
    }


def scenes64() -> dict[str, Any]:
    """Train the weights that come with the package: the demo's model and data, for an hour.

    Source: this project's own recipe, as `demo_exp`.
    Expected: see the table in README.
    Hardware: one CPU core and a loader process, about 2 GB of memory, no download.
    Command: python train.py +experiment=scenes64
    """
    longer = {"max_train_steps": 7000, "learning_rate": 6e-4, "eval_every_n_steps": 1000, "checkpointing_steps": 500}
    return merged(demo_exp(), {"exp": "scenes64", "trainer": longer})


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    for experiment in (demo_exp, scenes64):
        store(experiment(), group="experiment", name=experiment.__name__, package="_global_")
