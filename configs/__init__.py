"""All configs: one file per group; `build_store` collects them, `configs.hydra.main` runs a task with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_zen import ZenStore


def build_store() -> ZenStore:
    """Collect every entry of every group."""
    from hydra_zen import ZenStore  # here, because multirun.py needs `configs.sweep_grammar` at once, and torch not at all

    from configs import benchmark, dataset, evaluation, experiment, hydra, mode, model, previews, recipes, trainer
    from configs.store import Config

    store = ZenStore("region latents", deferred_to_config=True, deferred_hydra_store=True, overwrite_ok=False)
    store(Config, name="config", to_config=lambda config: config)
    for group in (hydra, trainer, dataset, model, previews, evaluation, experiment, recipes, benchmark, mode):
        group.add_to(store)
    return store
