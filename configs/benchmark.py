"""The benchmark's methods as experiments: the same scenes, pairs, samples and steps for each, and parameters within 10 % of ours.

`scripts/train_benchmark` trains all of them with their seeds, `scripts/benchmark.py` scores them. What a method leaves out belongs to its
recipe (`configs/recipes.py`); pairs are cut off only where it cannot use them.
"""

from __future__ import annotations

from typing import Any

from hydra_zen import ZenStore

from configs.experiment import PAIRS, SMALL_SCALE, layered_recipe
from configs.recipes import channel_concat, image_elements, neural_assets, soda
from configs.store import merged

BUDGET: dict[str, Any] = {
    "trainer": {"max_train_steps": 1000, "eval_every_n_steps": 1000, "checkpointing_steps": 500},
    "dataset": PAIRS | {"clip_probability": 0.0, "view_probability": 0.0, "num_workers": 1},
}
HALF_WAY = {"last_step": BUDGET["trainer"]["max_train_steps"] // 2}
UNPAIRED: dict[str, Any] = {"dataset": {"twin_probability": 0.0}}

# name -> (recipe, what the equal budget changes in it)
METHODS: dict[str, tuple[dict[str, Any], ...]] = {
    "ours": (layered_recipe(draft_steps=500),),
    # Depth would not be known when a picture is edited.
    "token_only": (neural_assets(), {"dataset": {"depth_probability": 0.0}}),
    # As large as ours although its tokens hold no appearance.
    "channel_concat": (channel_concat(), {"model": {"decoder": {"block_out_channels": [96, 144]}}}),
    # The two pictures of a pair would be cut into other elements; with 16 elements some objects own none.
    "superpixels": (
        image_elements(),
        UNPAIRED,
        {"dataset": {"num_regions": 25, "segmenter": {"num_segments": 24}}},
        {"model": {"decoder": {"block_out_channels": [96, 144]}, "encoder_tuning": HALF_WAY, "backbone_tuning": HALF_WAY}},
    ),
    # One latent of the whole picture cannot be told what changed in a pair.
    "global_latent": (soda(), UNPAIRED),
}


def add_to(store: ZenStore) -> None:
    """Add one experiment a method: `+experiment=benchmark_ours` and so on."""
    for name, overlays in METHODS.items():
        experiment = merged(SMALL_SCALE, *overlays[:1], BUDGET, *overlays[1:], {"exp": f"benchmark_{name}"})
        store(experiment, group="experiment", name=f"benchmark_{name}", package="_global_")
