"""Toy-size region latents, conditioner and U-Net: what the tests of the conditioning share."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel

from gen.models.attention import attach_attention
from gen.models.conditioner import Conditioner
from gen.models.layout_map import LayoutMap
from gen.models.pose_embedding import PoseFiLM
from gen.models.text_encoder import CaptionEncoder
from gen.regions import RegionLatents, RegionPose

WIDTH, QUERIES, GRID = 32, 2, 8
VOCABULARY = ["red", "circle"]


def toy_latents(batch_size: int = 2) -> RegionLatents:
    """Return pictures of a background, an object in the upper left quarter, one in the lower right, and an empty place."""
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.25, 0.25], [0.75, 0.75, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    valid = torch.tensor([True, True, True, False])
    return RegionLatents(
        torch.randn(batch_size, 4, QUERIES, WIDTH, generator=generator),
        RegionPose.from_boxes(boxes.expand(batch_size, -1, -1)),
        valid.expand(batch_size, -1),
    )


def toy_conditioner(**parts: Any) -> Conditioner:
    """Return a conditioner with pose, layout map and captions, and whatever else is given."""
    torch.manual_seed(0)
    basic = {"pose": PoseFiLM(WIDTH), "layout": LayoutMap(QUERIES, WIDTH, 8), "text": CaptionEncoder(VOCABULARY, WIDTH)}
    return Conditioner(QUERIES, WIDTH, num_registers=3, **(basic | parts)).eval()


def toy_unet(in_channels: int = 4 + 8, width: int = WIDTH, modulation: bool = False, seed: int = 0) -> UNet2DConditionModel:
    """Return a U-Net of two resolutions, both with attention, to which ours is attached."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=GRID,
        in_channels=in_channels,
        out_channels=4,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=width,
        attention_head_dim=2,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift" if modulation else "default",
    ).eval()
    attach_attention(unet)
    return unet


def noise(batch_size: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy latents and timesteps."""
    return torch.randn(batch_size, 4, GRID, GRID, generator=torch.Generator().manual_seed(1)), torch.full((batch_size,), 500)
