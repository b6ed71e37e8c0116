"""The recipes of the prior art, as overlays: each says how it differs from the base model, and what its paper's scale changes.

`+experiment=neural_assets` trains on the rendered world in about the time of `demo_exp`; `+experiment=neural_assets_paper` takes the
paper's decoder and image size. A new recipe is one function here, decorated with what its paper's scale changes.

The figures of the small scale are of one short run each, see docs/recipes.md: PSNR of the reconstruction above the mean colour, and of a
move above the unedited picture. They say that a recipe learns, not which is best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hydra_zen import ZenStore

from configs.experiment import SMALL_SCALE
from configs.store import merged

Recipe = Callable[[], dict[str, Any]]
RECIPES: dict[str, dict[str, Any]] = {}

# What the papers' scales have in common; the world's hardest scenes stand in for their data.
PAPER: dict[str, Any] = {
    "trainer": {
        "max_train_steps": 200_000,
        "learning_rate": 5e-5,
        "lr_warmup_steps": 1000,
        "mixed_precision": "bf16",
        "eval_every_n_steps": 5000,
        "checkpointing_steps": 1000,
    },
    "dataset": {"preset": "hard", "num_regions": 10, "resolution": 256, "train_batch_size": 64, "num_workers": 8},
    "model": {"region_encoder": {"width": 512}, "timestep_shift": 1.0, "preview_steps": 20},
}
STABLE_DIFFUSION = {
    "defaults": [{"override /model/decoder": "stable_diffusion"}],
    "model": {"decoder": {"weights": "stabilityai/stable-diffusion-2-1", "cross_attention_dim": 1024, "gradient_checkpointing": True}},
}
DINO = {
    "defaults": [{"override /model/region_encoder/backbone": "dinov2"}],
    "model": {"backbone_tuning": {"learning_rate_scale": 0.1}},
}
LARGE_UNET = {
    "model": {"decoder": {"block_out_channels": [256, 512, 768], "attention_levels": [False, True, True], "layers_per_block": 2}},
}


# The decoder is told by tokens alone: no map of them, no words.
TOKENS_ALONE = [{"override /model/conditioner/layout": None}, {"override /model/conditioner/text": None}]

# Where nothing tells the decoder how a view was cropped, or a place in the source has to be found in the source picture.
UNAUGMENTED = {f"{view}_augmentation": {"probability": 0.0} for view in ("source", "target")}


def at_paper_scale(*changes: dict[str, Any]) -> Callable[[Recipe], Recipe]:
    """Register a recipe at both scales; `changes` are what its paper's scale changes besides `PAPER`."""

    def register(recipe: Recipe) -> Recipe:
        name = recipe.__name__
        RECIPES[name] = merged(SMALL_SCALE, {"exp": name}, recipe())
        RECIPES[f"{name}_paper"] = merged(PAPER, {"exp": f"{name}_paper"}, recipe(), *changes)
        return recipe

    return register


@at_paper_scale(STABLE_DIFFUSION, DINO)
def gen() -> dict[str, Any]:
    """Train the full recipe: all losses that keep an object's features its own, and heads for class and rotation.

    Source: this project; the losses' sources stand in gen/losses.py.
    Expected: after 400 steps reconstruction +3.25 dB, move +6.27 dB.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 8 GPUs of 80 GB, not run.
    Command: python train.py +experiment=gen
    """
    weights = {"feature_similarity": 0.1, "token_variance": 0.1, "token_repulsion": 0.02, "classes": 0.05, "rotation": 0.05}
    return {
        "defaults": [{"override /model/heads": "classes_and_rotation"}],
        "model": {"loss_weights": weights | {"warmup_steps": {"feature_similarity": 200, "token_repulsion": 200}}},
    }


@at_paper_scale(STABLE_DIFFUSION, DINO)
def neural_assets() -> dict[str, Any]:
    """Paint the target frame from nothing but tokens: RoI features of the source frame, concatenated with the target's pose in 3-D.

    Source: Wu et al. 2024, arXiv 2406.09292. Depth and yaw stand beside the 2-D box instead of projected corners; a tenth of the
    regions lack either, so that poses measured from masks can be painted.
    Expected: after 1,400 steps reconstruction -1.46 dB, move +1.63 dB: objects are not yet in place.
    The paper's own figures are on other data.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 16 accelerators, not run.
    Command: python train.py +experiment=neural_assets
    """
    return {
        "defaults": [{"override /model/conditioner/pose": "concat"}, *TOKENS_ALONE],
        "dataset": {"twin_probability": 0.0, "clip_probability": 1.0, "depth_probability": 0.9, "yaw_probability": 0.9},
        "model": {"region_encoder": {"pooling": "roi"}, "context_erasing": None},
    }


@at_paper_scale(
    STABLE_DIFFUSION,
    {"dataset": {"num_regions": 257, "segmenter": {"num_segments": 256}}},
    {"model": {"encoder_tuning": {"last_step": 100_000}, "backbone_tuning": {"last_step": 100_000}}},
)
def image_elements() -> dict[str, Any]:
    """Paint a picture from superpixel-like elements of random partitions, each with a token and a box; the encoder is frozen half-way.

    Source: Mu et al. 2024, arXiv 2404.16029: staged training, random partitions.
    Expected: masked error 0.158 in the first 50 steps, 0.041 in the last 100. Elements are not objects, so moves
    are not scored.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 8 GPUs of 80 GB, not run.
    Command: python train.py +experiment=image_elements
    """
    half_way = {"last_step": 700}
    return {
        "defaults": [{"override /dataset/segmenter": "superpixels"}, *TOKENS_ALONE],
        "dataset": {"num_regions": 17, "twin_probability": 0.0},
        "model": {
            "region_encoder": {"num_queries": 1},
            "context_erasing": None,
            "encoder_tuning": half_way,
            "backbone_tuning": half_way,
        },
    }


@at_paper_scale(LARGE_UNET)
def soda() -> dict[str, Any]:
    """Paint another view from one latent of the whole picture, which modulates every layer of the decoder; layers are masked at random.

    Source: Hudson et al. 2023, arXiv 2311.17901. The decoder also attends to the latent.
    Expected: masked error 0.147 in the first 50 steps, 0.049 in the last 100. One latent knows no objects, so they cannot be moved.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 8 GPUs of 80 GB, not run.
    Command: python train.py +experiment=soda
    """
    return {
        "defaults": [
            {"override /dataset/segmenter": "whole_picture"},
            {"override /model/conditioner/modulation": "mean_token"},
            {"override /model/conditioner/camera": "token"},
            {"override /model/conditioner/pose": None},
            *TOKENS_ALONE,
        ],
        "dataset": {"twin_probability": 0.0, "view_probability": 0.8, **UNAUGMENTED},
        "model": {"decoder": {"modulation": True}, "context_erasing": None, "layer_dropout": 0.15},
    }


@at_paper_scale(STABLE_DIFFUSION)
def channel_concat() -> dict[str, Any]:
    """Give the decoder the whole source picture as input channels; a region's token says only where the object was.

    Source: Michel et al. 2023 (3DIT), arXiv 2307.11073; Brooks et al. 2023 (InstructPix2Pix), arXiv 2211.09800.
    Expected: masked error 0.119 in the first 50 steps, 0.017 in the last 100; a move +0.68 dB: it copies its
    source and moves nothing yet.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 8 GPUs of 80 GB, not run.
    Command: python train.py +experiment=channel_concat
    """
    return {
        "defaults": [{"override /model/region_encoder": "source_pose"}, *TOKENS_ALONE],
        "dataset": {"twin_probability": 1.0, **UNAUGMENTED},
        "model": {"region_dropout": 0.0, "context_erasing": {"everything": 0.0, "region": 0.0, "max_boxes": 0, "changed": False}},
    }


@at_paper_scale(STABLE_DIFFUSION, DINO, {"model": {"decoder_tuning": {"first_step": 10_000}}})
def break_a_scene() -> dict[str, Any]:
    """Train on random subsets of the objects with masked and attention losses, the tokens first, then the decoder as well.

    Source: Avrahami et al. 2023, arXiv 2305.16311, with an encoder's tokens in place of optimised ones.
    Expected: after 400 steps reconstruction +0.56 dB, move +3.61 dB.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale one GPU of 80 GB, not run.
    Command: python train.py +experiment=break_a_scene
    """
    return {
        "model": {
            "loss_weights": {"masked_diffusion": 1.0, "per_region_diffusion": 0.0, "attention_region": 0.05},
            "region_dropout": 0.5,
            "decoder_tuning": {"first_step": 100},
        }
    }


@at_paper_scale(STABLE_DIFFUSION, DINO, {"model": {"decoder_tuning": {"parts": "none"}}})
def controlnet() -> dict[str, Any]:
    """Add a branch that reads a conditioning picture: outlines of the target's regions.

    Source: Zhang et al. 2023, arXiv 2302.05543; at the paper's scale the decoder is frozen, as there.
    Expected: after 400 steps reconstruction +3.04 dB, move +5.97 dB; evaluated without a conditioning picture.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale one GPU of 80 GB, not run.
    Command: python train.py +experiment=controlnet
    """
    return {"dataset": {"control": "outlines"}, "model": {"controlnet": True}}


@at_paper_scale(DINO, {"trainer": {"learning_rate": 5e-5}})
def rotation() -> dict[str, Any]:
    """Train the region encoder and a rotation head alone: nothing is painted.

    Source: Zhou et al. 2019, arXiv 1812.07035 (6-D); Mousavian et al. 2017, arXiv 1612.00496 (bins and residual).
    Expected: median error 11.4 degrees, 62 % within 15.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale one GPU of 80 GB, not run.
    Command: python train.py +experiment=rotation
    """
    return {
        "defaults": [{"override /model/heads": "rotation"}],
        "trainer": {"learning_rate": 2e-3},
        "dataset": {"twin_probability": 0.0},
        "model": {"loss_weights": {"masked_diffusion": 0.0, "per_region_diffusion": 0.0, "rotation": 1.0}, "region_dropout": 0.0},
    }


@at_paper_scale(STABLE_DIFFUSION, DINO)
def paired_frames() -> dict[str, Any]:
    """Take source and target from two frames of a clip, and let an object's tokens be the same in both.

    Source: pairs of frames as in Neural Assets, arXiv 2406.09292; similarity without collapse as in VICReg, arXiv 2105.04906.
    Expected: after 400 steps reconstruction +2.89 dB, move +5.58 dB.
    Hardware: 2 CPU cores, 2 GB of memory; at the paper's scale 8 GPUs of 80 GB, not run.
    Command: python train.py +experiment=paired_frames
    """
    return {
        "dataset": {"twin_probability": 0.0, "clip_probability": 1.0},
        "model": {
            "similarity": "target_view",
            "loss_weights": {"feature_similarity": 0.1, "token_variance": 0.1, "warmup_steps": {"feature_similarity": 200}},
        },
    }


def add_to(store: ZenStore) -> None:
    """Add every recipe at both scales."""
    for name, overlay in RECIPES.items():
        store(overlay, group="experiment", name=name, package="_global_")
