"""Toy-size real models with random weights: what tests build."""

from __future__ import annotations

import torch

from gen.losses import LossWeights
from gen.models.conditioner import Conditioner
from gen.models.erasing import ContextErasing
from gen.models.latent_space import PixelSpace
from gen.models.pipeline import RegionPipeline
from gen.models.region_diffusion import RegionDiffusion
from gen.models.region_encoder import RegionEncoder
from gen.models.source_context import context_channels
from gen.models.unet import ddim_scheduler, small_unet


def tiny_region_diffusion(resolution: int = 32, num_regions: int = 5, seed: int = 0) -> RegionDiffusion:
    """Build a model with every part switched on, small enough for a test.

    Args:
        resolution: side of the pictures, a multiple of 8.
        num_regions: n, background included.
        seed: of the weights.
    """
    torch.manual_seed(seed)
    width, layout_channels, grid = 32, 16, resolution // 4
    return RegionDiffusion(
        region_encoder=RegionEncoder(num_queries=2, width=width, depth=1, num_heads=2, backbone_depth=1),
        conditioner=Conditioner(2, width, grid, 2, layout_channels, 1, ["red", "circle", "with", "blue", "background"]),
        unet=small_unet(grid, 48, layout_channels + context_channels(resolution, grid), (16, 32), 1, (False, True), width, 2),
        scheduler=ddim_scheduler(),
        latent_space=PixelSpace(4),
        context_erasing=ContextErasing(),
        loss_weights=LossWeights(diffusion=0.1, feature_similarity=0.1),
        num_regions=num_regions,
        preview_steps=2,
    )


def tiny_pipeline(resolution: int = 32, num_regions: int = 5, seed: int = 0) -> RegionPipeline:
    """Build the pipeline of `tiny_region_diffusion`, in evaluation mode."""
    model = tiny_region_diffusion(resolution, num_regions, seed).eval()
    return model.pipeline()
