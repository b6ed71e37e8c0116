"""The `model` group; what a model shares with the data is read from the dataset's config."""

from __future__ import annotations

from hydra_zen import ZenStore

from configs.store import full
from gen.losses import LossWeights
from gen.models.erasing import ContextErasing
from gen.models.small import small_region_diffusion
from gen.scenes import VOCABULARY

SHARED = {"resolution": "${dataset.resolution}", "num_regions": "${dataset.num_regions}"}


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    parts = {"context_erasing": full(ContextErasing), "loss_weights": full(LossWeights)}
    store(full(small_region_diffusion, **SHARED, **parts, vocabulary=list(VOCABULARY)), group="model", name="small")
