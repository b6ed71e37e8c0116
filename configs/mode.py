"""The `mode` group: overlays over any experiment."""

from __future__ import annotations

from typing import Any

from hydra_zen import ZenStore

# No run of a mode is long enough to learn a draft first.
AT_ONCE = {"first_steps": {"masked_diffusion": 0, "per_region_diffusion": 0}}


def tiny() -> dict[str, Any]:
    """Run the whole path in seconds: three steps of a toy-size model, previews, checkpoints, the exported pipeline."""
    return {
        "exp": "tiny",
        "trainer": {
            "max_train_steps": 3,
            "log_every_n_steps": 1,
            "eval_every_n_steps": 3,
            "checkpointing_steps": 2,
            "gradient_accumulation_steps": 1,
            "mixed_precision": "no",
        },
        "dataset": {"resolution": 32, "train_batch_size": 2, "num_validation": 2, "num_workers": 0},
        "model": {
            "region_encoder": {"width": 32},
            "loss_weights": AT_ONCE,
            "decoder": {"block_out_channels": [16, 32], "attention_levels": [False, True], "num_heads": 2},
            "preview_steps": 2,
        },
        "previews": {"panels": ["edits"]},
    }


def overfit() -> dict[str, Any]:
    """Train on the dataset's first 8 items, unaugmented, and preview those: a model that cannot do this is broken."""
    return {
        "exp": "overfit",
        "trainer": {"max_train_steps": 500, "eval_every_n_steps": 100},
        "model": {"loss_weights": AT_ONCE},
        "dataset": {"overfit_items": 8, "num_validation": 8},
    }


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    for mode in (tiny, overfit):
        store(mode(), group="mode", name=mode.__name__, package="_global_")
