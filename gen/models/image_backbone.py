"""ConvBackbone: the small image network, trained from scratch, whose features the regions are pooled from."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class ConvBackbone(nn.Module):
    """Map an image to a grid of features at a quarter of its resolution.

    Args:
        in_channels: of the image.
        width: d, channels of the features; a multiple of 16.
        depth: residual blocks at the final resolution.
    """

    def __init__(self, in_channels: int = 4, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.stem = nn.Conv2d(in_channels * 4, width // 2, 3, padding=1, padding_mode="replicate")
        self.down = nn.Conv2d(width * 2, width, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = CellNorm(width)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d g2 g3"]:
        """Return features; the sides of `image` must be multiples of 4."""
        hidden = F.silu(self.stem(F.pixel_unshuffle(image, 2)))
        hidden = self.down(F.pixel_unshuffle(hidden, 2))
        for block in self.blocks:
            hidden = block(hidden)
        return self.norm(hidden)


class CellNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell: unlike group norm it carries nothing from one object to another."""

    def forward(self, hidden: Float[Tensor, "b d g2 g3"]) -> Float[Tensor, "b d g2 g3"]:
        """Return normalised features."""
        return super().forward(hidden.movedim(1, -1)).movedim(-1, 1)


class ResidualBlock(nn.Module):
    """Pre-norm residual block of two 3x3 convolutions; borders are replicated so that they do not tell position."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(CellNorm(width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, padding_mode="replicate") for _ in range(2))

    def forward(self, hidden: Float[Tensor, "b d g2 g3"]) -> Float[Tensor, "b d g2 g3"]:
        """Return features of the same shape."""
        change = hidden
        for norm, conv in zip(self.norms, self.convs, strict=True):
            change = conv(F.silu(norm(change)))
        return hidden + change


def fourier_features(values: Float[Tensor, "... k"], octaves: int) -> Float[Tensor, "... f"]:
    """Return values with their sines and cosines at frequencies pi, 2 pi, 4 pi, ..., in fp32.

    Few octaves keep the code smooth, so that it extrapolates; many would make it a hash.

    Source: Tancik et al. 2020, arXiv 2006.10739, eq. 4 with axis-aligned frequencies.
    """
    values = values.float()
    frequencies = torch.pi * 2.0 ** torch.arange(octaves, device=values.device)
    angles = (values[..., None] * frequencies).flatten(-2)
    return torch.cat([values, angles.sin(), angles.cos()], -1)
