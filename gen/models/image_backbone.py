"""ImageBackbone: the network whose features the regions are pooled from; ConvBackbone, the small one that is trained from scratch."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.models.component import Component

COORDINATE_CHANNELS = 2
IN_CHANNELS = (4, 4 + COORDINATE_CHANNELS)


class ImageBackbone(Component):
    """Map an image to square grids of features, one for each chosen layer.

    The image's channels are RGB in [-1, 1] (0 where unknown), 1 where the pixel is known else 0, and, with 6 of them, the pixel's place
    (x, y) in [-1, 1]. Whatever lies beyond RGB and the mask changes nothing until it is trained.

    Every backbone has `blocks`, a ModuleList of its layers or stages from the first to the last, so that the last few can be trained alone.

    Attributes:
        in_channels: c, of the image: 4, or 6 with coordinates.
        widths: d_i, channels of each map.
        always_trained: prefixes of parameters that are new, so that they must be trained even where the network is frozen.
    """

    in_channels: int
    widths: list[int]
    always_trained: frozenset[str] = frozenset()

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return the maps [b d_i g_i g_i] of the chosen layers, from the first to the last."""
        raise NotImplementedError


class ConvBackbone(ImageBackbone):
    """A few convolutions, trained from scratch: one map at a quarter of the image's resolution.

    Args:
        width: d, channels of the features; a multiple of 16.
        depth: residual blocks at the final resolution.
        in_channels: 4 (RGB and what is known), or 6 with coordinates, which get zero weights at first.
    """

    def __init__(self, width: int = 128, depth: int = 1, in_channels: int = 4) -> None:
        super().__init__()
        check_in_channels(in_channels)
        self.in_channels, self.widths = in_channels, [width]
        self.stem = nn.Conv2d(in_channels * 4, width // 2, 3, padding=1, padding_mode="replicate")
        with torch.no_grad():
            self.stem.weight[:, IN_CHANNELS[0] * 4 :] = 0  # pixel_unshuffle keeps a channel's four pixels together
        self.down = nn.Conv2d(width * 2, width, 1)
        self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(depth))
        self.norm = CellNorm(width)

    def forward(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b _ _ _"]]:
        """Return one map; the sides of `image` must be multiples of 4."""
        hidden = F.silu(self.stem(F.pixel_unshuffle(image, 2)))
        hidden = self.down(F.pixel_unshuffle(hidden, 2))
        for block in self.blocks:
            hidden = block(hidden)
        return [self.norm(hidden)]


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


def check_in_channels(in_channels: int) -> None:
    """Refuse a number of image channels that no region encoder gives.

    Raises:
        ValueError: if it is neither 4 nor 6.
    """
    if in_channels not in IN_CHANNELS:
        raise ValueError(
            f"model.region_encoder.backbone.in_channels={in_channels}: a backbone sees RGB and what is known (4 channels), "
            "or these and the coordinates (6); give 4 or 6"
        )


def fourier_features(values: Float[Tensor, "... k"], octaves: int) -> Float[Tensor, "... f"]:
    """Return values with their sines and cosines at frequencies pi, 2 pi, 4 pi, ..., in fp32.

    Few octaves keep the code smooth, so that it extrapolates; many would make it a hash.

    Source: Tancik et al. 2020, arXiv 2006.10739, eq. 4 with axis-aligned frequencies.
    """
    values = values.float()
    frequencies = torch.pi * 2.0 ** torch.arange(octaves, device=values.device)
    angles = (values[..., None] * frequencies).flatten(-2)
    return torch.cat([values, angles.sin(), angles.cos()], -1)
