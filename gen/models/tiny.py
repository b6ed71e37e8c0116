"""Toy-size real models with random weights: what tests build."""

from __future__ import annotations

from typing import Any

import torch

from gen.losses import LossWeights
from gen.models.conditioner import Conditioner
from gen.models.decoder import small_decoder
from gen.models.erasing import ContextErasing
from gen.models.image_backbone import ConvBackbone
from gen.models.layout_map import LayoutMap
from gen.models.pipeline import RegionPipeline
from gen.models.pose_embedding import PoseFiLM
from gen.models.region_diffusion import RegionDiffusion
from gen.models.region_encoder import RegionEncoder
from gen.models.text_encoder import CaptionEncoder

WIDTH = 32


def tiny_region_diffusion(
    resolution: int = 32,
    num_regions: int = 5,
    seed: int = 0,
    conditioning: dict[str, Any] | None = None,
    decoding: dict[str, Any] | None = None,
    **changes: Any,
) -> RegionDiffusion:
    """Build a model small enough for a test, with layout map, source context, captions and the similarity loss.

    Args:
        resolution: side of the pictures, a multiple of 8.
        num_regions: n, background included.
        seed: of the weights.
        conditioning: other arguments of `Conditioner`.
        decoding: other arguments of `small_decoder`.
        changes: other arguments of `RegionDiffusion`.
    """
    torch.manual_seed(seed)
    parts: dict[str, Any] = {
        "pose": PoseFiLM(WIDTH),
        "layout": LayoutMap(2, WIDTH, 16),
        "text": CaptionEncoder(["red", "circle", "with", "blue", "background"], WIDTH),
    }
    arguments: dict[str, Any] = {
        "region_encoder": RegionEncoder(ConvBackbone(WIDTH, 1), num_queries=2, width=WIDTH, depth=1, num_heads=2),
        "conditioner": Conditioner(2, WIDTH, num_registers=2, **(parts | (conditioning or {}))),
        "decoder": tiny_decoder(**(decoding or {})),
        "context_erasing": ContextErasing(),
        "loss_weights": LossWeights(diffusion=0.1, feature_similarity=0.1),
        "resolution": resolution,
        "num_regions": num_regions,
        "preview_steps": 2,
    }
    return RegionDiffusion(**(arguments | changes))


def tiny_decoder(**changes: Any):
    """Build the decoder of `tiny_region_diffusion`, or one with other arguments of `small_decoder`."""
    arguments: dict[str, Any] = {"block_out_channels": (16, 32), "attention_levels": (False, True), "num_heads": 2}
    return small_decoder(**(arguments | {"cross_attention_dim": WIDTH} | changes))


def tiny_pipeline(resolution: int = 32, num_regions: int = 5, seed: int = 0) -> RegionPipeline:
    """Build the pipeline of `tiny_region_diffusion`, in evaluation mode."""
    return tiny_region_diffusion(resolution, num_regions, seed).eval().pipeline()
