"""SourcePoseEncoder: tokens that say only where a region was, for decoders that see the source picture itself."""

from __future__ import annotations

import torch
import torch.nn as nn
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.component import Component
from gen.models.image_backbone import fourier_features
from gen.regions import RegionPose, Regions

_OCTAVES = 3


class SourcePoseEncoder(Component):
    """Encode every region's box in the source picture, and nothing of its pixels.

    The decoder sees the source picture as further input channels: a token says "what was in this box", the target pose says where to.

    Args:
        num_queries: q, tokens per region.
        width: d, of the tokens.

    Source: Michel et al. 2023, arXiv 2307.11073 (3DIT); Brooks et al. 2022, arXiv 2211.09800, section 3.2 (InstructPix2Pix's channels).
    """

    def __init__(self, num_queries: int = 1, width: int = 128) -> None:
        super().__init__()
        self.num_queries, self.width = num_queries, width
        self.tokens = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.mlp = nn.Sequential(nn.Linear(4 * (1 + 2 * _OCTAVES), width), nn.SiLU(), nn.Linear(width, num_queries * width))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        pixel_values: Float[Tensor, "b 3 h w"],
        regions: Regions,
        known: Bool[Tensor, "b h w"] | None = None,
        coordinates: Float[Tensor, "b 2 h w"] | None = None,
    ) -> Float[Tensor, "b n q d"]:
        """Encode every region's box.

        Args:
            pixel_values: not read.
            regions: of the source picture; regions that are not valid get zeros.
            known: not read.
            coordinates: not read.

        Returns:
            Tokens, layer-normalised.
        """
        pose = RegionPose.from_regions(regions)
        code = fourier_features(torch.cat([pose.centre, pose.size], -1) * 2 - 1, _OCTAVES)
        tokens = self.tokens + self.mlp(code).unflatten(-1, (self.num_queries, self.width))
        return self.norm(tokens) * regions.valid[..., None, None]
