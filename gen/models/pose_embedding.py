"""PoseFiLM, PoseConcat, CameraToken: tell appearance tokens where and how they are painted, and the decoder how the camera moved."""

from __future__ import annotations

import torch
import torch.nn as nn
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.component import Component
from gen.models.image_backbone import fourier_features
from gen.regions import RegionPose

_OCTAVES = 3
POSE_FEATURES = 4 * (1 + 2 * _OCTAVES) + 3 + 2 + 3


class PoseFiLM(Component):
    """Scale and shift tokens by an MLP of the pose; zero-initialised, so training starts from pose-free tokens.

    The pose enters after the appearance is encoded, as a smooth Fourier code in fp32. Depth and yaw are optional and come with a
    flag each that says whether they are known.

    Args:
        width: d, of the tokens.

    Source: Perez et al. 2018, arXiv 1709.07871 (FiLM); pose tokens as in Neural Assets, arXiv 2406.09292.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.width = width
        last = nn.Linear(width, 2 * width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(nn.Linear(POSE_FEATURES, width), nn.SiLU(), last)

    def forward(self, tokens: Float[Tensor, "b n q d"], pose: RegionPose) -> Float[Tensor, "b n q d"]:
        """Return tokens that know their pose."""
        features = pose_features(pose).to(next(self.parameters()).dtype)
        scale, shift = self.mlp(features)[:, :, None].chunk(2, -1)
        return tokens * (1 + scale) + shift


class PoseConcat(Component):
    """Put appearance and a projection of the pose side by side and mix them by one linear layer, which first passes appearance on.

    Args:
        width: d, of the tokens.

    Source: Wu et al. 2024 (Neural Assets), arXiv 2406.09292, section 3.2.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.pose = nn.Linear(POSE_FEATURES, width)
        self.mix = nn.Linear(2 * width, width)
        with torch.no_grad():
            self.mix.weight.copy_(torch.cat([torch.eye(width), torch.zeros(width, width)], 1))
            self.mix.bias.zero_()

    def forward(self, tokens: Float[Tensor, "b n q d"], pose: RegionPose) -> Float[Tensor, "b n q d"]:
        """Return tokens that know their pose."""
        code = self.pose(pose_features(pose).to(self.pose.weight.dtype))[:, :, None].expand(-1, -1, tokens.shape[2], -1)
        return self.mix(torch.cat([tokens, code.to(tokens.dtype)], -1))


class CameraToken(Component):
    """Turn the target camera's pose relative to the source's into one token.

    Args:
        width: d, of the token.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.mlp = nn.Sequential(nn.Linear(12, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, batch_size: int, camera: Float[Tensor, "b 12"] | None) -> tuple[Float[Tensor, "b 1 d"], Bool[Tensor, " b"]]:
        """Return the token, and in which samples the camera is known: given and without a NaN."""
        weight = next(self.parameters())
        camera = torch.full((batch_size, 12), torch.nan) if camera is None else camera
        known = camera.isfinite().all(-1).to(weight.device)
        values = torch.where(known[:, None], camera.to(weight), 0.0)
        return self.mlp(values)[:, None], known


def pose_features(pose: RegionPose) -> Float[Tensor, "b n f"]:
    """Return the pose as numbers.

    A Fourier code of centre and size, flip as -1 or 1, angle, then depth and yaw with a flag each: 0, and zeros, where NaN or None.
    """
    box = fourier_features(torch.cat([pose.centre, pose.size], -1) * 2 - 1, _OCTAVES)
    nothing = torch.full_like(pose.flip, torch.nan)[..., None].float()
    depth = nothing if pose.depth is None else pose.depth[..., None].float()
    yaw = nothing.expand(*nothing.shape[:-1], 2) if pose.yaw is None else pose.yaw.float()
    flip = 2 * pose.flip[..., None].float() - 1
    return torch.cat([box, flip, pose.angle.float(), _with_flag(depth), _with_flag(yaw)], -1)


def _with_flag(values: Float[Tensor, "b n k"]) -> Float[Tensor, "b n k1"]:
    known = values.isfinite().all(-1, keepdim=True)
    return torch.cat([torch.where(known, values, 0.0), known.float()], -1)
