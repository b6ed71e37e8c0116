"""PoseFiLM: tell appearance tokens where and how they are painted."""

from __future__ import annotations

import torch
import torch.nn as nn
from jaxtyping import Float
from torch import Tensor

from gen.models.image_backbone import fourier_features
from gen.regions import RegionPose

_OCTAVES = 3


class PoseFiLM(nn.Module):
    """Scale and shift tokens by an MLP of the pose; zero-initialised, so training starts from pose-free tokens.

    The pose enters after the appearance is encoded, as a smooth Fourier code in fp32. Depth and yaw are optional and come with a
    flag each that says whether they are known.

    Args:
        width: d, of the tokens.

    Source: Perez et al. 2018, arXiv 1709.07871 (FiLM); pose tokens as in Neural Assets, arXiv 2406.09292.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        in_features = 4 * (1 + 2 * _OCTAVES) + 3 + 2 + 3
        last = nn.Linear(width, 2 * width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(in_features, width), nn.SiLU(), last)

    def forward(self, tokens: Float[Tensor, "b n q d"], pose: RegionPose) -> Float[Tensor, "b n q d"]:
        """Return tokens that know their pose."""
        scale, shift = self.mlp(pose_features(pose))[:, :, None].chunk(2, -1)
        return tokens * (1 + scale) + shift


def pose_features(pose: RegionPose) -> Float[Tensor, "b n f"]:
    """Return the pose as numbers: a Fourier code of centre and size, flip as -1 or 1, angle, and depth and yaw with their flags."""
    box = fourier_features(torch.cat([pose.centre, pose.size], -1) * 2 - 1, _OCTAVES)
    zero = torch.zeros_like(pose.flip)[..., None].float()
    depth = torch.cat([zero, zero] if pose.depth is None else [pose.depth[..., None].float(), zero + 1], -1)
    yaw = torch.cat([zero, zero, zero] if pose.yaw is None else [pose.yaw.float(), zero + 1], -1)
    return torch.cat([box, 2 * pose.flip[..., None].float() - 1, pose.angle.float(), depth, yaw], -1)
