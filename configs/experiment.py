"""The `experiment` group: overlays that stack (`+experiment=demo_exp +mode=tiny`), each with its source, figures, hardware and command."""

from __future__ import annotations

from typing import Any

from hydra_zen import ZenStore

from configs.store import merged

# What the trainings on rendered scenes have in common; a run of this length takes minutes on a CPU.
SMALL_SCALE: dict[str, Any] = {
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


# Two renders of a scene, before and after one change; turns are told to the decoder.
PAIRS: dict[str, Any] = {
    "twin_probability": 0.8,
    "twin_operations": ["move", "move", "rotate", "rotate", "resize", "swap", "remove"],
    "yaw_probability": 0.9,
}


def layered_recipe(draft_steps: int) -> dict[str, Any]:
    """Return this project's own recipe: regions encoded alone, laid out as sprites, and a decoder that paints what such a draft lacks.

    Args:
        draft_steps: global steps in which only the draft is learned, at a third to a half of the price.

    Source: docs/log.md says what was tried, what it cost and what it gave.
    """
    first_steps = {"masked_diffusion": draft_steps, "per_region_diffusion": draft_steps}
    return {
        "defaults": [{"override /model/region_encoder": "crops"}, {"override /model/conditioner/layout": "sprites"}],
        "model": {
            "draft": True,
            "known_weight": 0.5,
            "loss_weights": {"draft": 1.0, "first_steps": first_steps},
            "context_erasing": {"everything": 0.2, "changed_margin": 0.12},
        },
        "dataset": PAIRS,
    }


def demo_exp() -> dict[str, Any]:
    """Train the small model on simple rendered scenes in minutes on two CPU cores: our row of the benchmark, seed 0.

    Source: this project's own recipe.
    Expected: see the table in README.
    Hardware: 2 CPU cores, about 2 GB of memory, no download.
    Command: python train.py +experiment=demo_exp
    """
    shorter = {"max_train_steps": 1000, "eval_every_n_steps": 250, "checkpointing_steps": 250}
    shown = {"panels": ["edits", "position_sweep"], "num_pictures": 4}
    return merged(SMALL_SCALE, layered_recipe(draft_steps=500), {"exp": "demo_exp", "trainer": shorter, "previews": shown})


def scenes64() -> dict[str, Any]:
    """Train the weights that come with the package: the demo's model and data, for longer.

    Source: this project's own recipe, as `demo_exp`.
    Expected: see the table in README.
    Hardware: one CPU core and a loader process, about 2 GB of memory, no download.
    Command: python train.py +experiment=scenes64
    """
    longer = {"max_train_steps": 9000, "eval_every_n_steps": 1500, "checkpointing_steps": 500}
    return merged(demo_exp(), layered_recipe(draft_steps=2500), {"exp": "scenes64", "trainer": longer})


def scenes128() -> dict[str, Any]:
    """Train at 128 px on the standard scenes, on a GPU; not run yet.

    Source: this project's own recipe, with a U-Net of one level more.
    Expected: no figures yet; `+mode=tiny` and a resumed tiny run are tested.
    Hardware: one GPU; 16 loader processes.
    Command: python train.py +experiment=scenes128
    """
    unet = {"block_out_channels": [128, 192, 256], "attention_levels": [False, True, True]}
    longer = {"max_train_steps": 100_000, "learning_rate": 3e-4, "eval_every_n_steps": 5000, "checkpointing_steps": 2500}
    data = {"preset": "standard", "num_regions": 7, "resolution": 128, "train_batch_size": 64, "num_workers": 16}
    model = {"decoder": unet, "region_encoder": {"crop_size": 64}, "conditioner": {"layout": {"token_size": 16}}}
    return merged(demo_exp(), layered_recipe(draft_steps=10_000), {"exp": "scenes128", "trainer": longer, "dataset": data, "model": model})


def photos() -> dict[str, Any]:
    """Overfit a small model on a handful of photographs of any shape, so that their objects can be moved and removed.

    Source: this project's own recipe, as `demo_exp`, at 128 px; regions by colour.
    Expected: docs/results/photos/photos.md, by `scripts/demo_photos`.
    Hardware: 2 CPU cores, a few minutes, no download.
    Command: scripts/demo_photos; or python train.py +experiment=photos dataset.root=my/pictures
    """
    recipe = layered_recipe(draft_steps=300)
    regions = [{"override /dataset": "image_folder"}, {"override /dataset/segmenter": "masks_else_classical"}]
    cells = {
        "decoder": {"patch_size": 8},
        "region_encoder": {"crop_size": 64, "num_queries": 64},
        "conditioner": {"layout": {"patch_size": 8}},
    }
    data = {"root": "data/photos", "fit": "pad", "num_held_out": 0, "keep_in_memory": 64, "resolution": 128, "train_batch_size": 8}
    seldom = {"probability": 0.2}
    return merged(
        SMALL_SCALE,
        {"defaults": [*recipe["defaults"], *regions], "model": recipe["model"]},
        {"exp": "photos", "model": cells, "dataset": data, "trainer": {"max_train_steps": 1000, "eval_every_n_steps": 250}},
        {"dataset": {"source_augmentation": seldom, "target_augmentation": seldom}},
    )


def oracle() -> dict[str, Any]:
    """Train the oracle that judges edited pictures of the rendered world, on true renders of all that is scored.

    Source: this project's own.
    Expected: docs/results/oracle/oracle.md, by `python scripts/evaluate_oracle.py --oracle outputs/oracle/pipeline`.
    Hardware: one CPU core and a loader process, about 20 minutes, no download.
    Command: python train.py +experiment=oracle
    """
    return {
        "defaults": [{"override /model": "oracle"}],
        "exp": "oracle",
        "trainer": {
            "max_train_steps": 2600,
            "learning_rate": 2e-3,
            "lr_scheduler": "cosine",
            "mixed_precision": "bf16",
            "eval_every_n_steps": 500,
            "checkpointing_steps": 250,
            "log_every_n_steps": 25,
        },
        "dataset": {
            "preset": "mixed",
            "num_regions": 7,
            "resolution": 64,
            "train_batch_size": 32,
            "num_workers": 1,
            "twin_probability": 0.0,
            "source_augmentation": {"probability": 0.0},
            "target_augmentation": {"probability": 0.0},
        },
    }


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    for experiment in (demo_exp, scenes64, scenes128, photos, oracle):
        store(experiment(), group="experiment", name=experiment.__name__, package="_global_")
