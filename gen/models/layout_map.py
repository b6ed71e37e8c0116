"""LayoutMap: paint every region's tokens softly into its target box, as extra input channels of the decoder."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.models.component import Component
from gen.models.image_backbone import fourier_features
from gen.regions import RegionLatents, cell_centres

_OCTAVES = 3
_EDGE_CELLS = 1.0  # how far a box reaches out softly, in cells


class LayoutMap(Component):
    """Let each cell read what the regions there look like at that place of their own frame.

    For a region and a cell, an MLP maps (tokens, the cell's coordinates in the region's own box) to channels; they are weighted by a
    soft box and summed over regions. Flip and angle act on the coordinates, so a mirrored object is a mirrored map by construction.

    Args:
        num_queries: q, tokens per region.
        width: d, of the tokens.
        channels: of the map.
        oversampling: places a cell and axis at which the regions are read; more than one tells shape inside a cell.

    Raises:
        ValueError: if the channels do not divide among the places.
    """

    draft_channels = ()  # none of the map's channels is a draft of the picture

    def __init__(self, num_queries: int = 2, width: int = 128, channels: int = 64, oversampling: int = 1) -> None:
        super().__init__()
        if channels < 1 or oversampling < 1 or channels % oversampling**2:
            raise ValueError(
                f"model.conditioner.layout.channels={channels} is no positive multiple of oversampling**2={oversampling**2}; set another"
            )
        self.num_queries, self.width, self.channels, self.oversampling = num_queries, width, channels, oversampling
        self.from_place = nn.Linear(2 + 4 * _OCTAVES, width)
        self.from_tokens = nn.Linear(num_queries * width, 2 * width)
        self.middle = nn.Linear(width, width)
        self.out = nn.Linear(width, channels // oversampling**2)

    def forward(self, latents: RegionLatents, grid: int) -> Float[Tensor, "b c g g"]:
        """Return the map on a `grid` x `grid` raster."""
        side = grid * self.oversampling
        points = latents.pose.own_coordinates(cell_centres(side, side, latents.tokens.device))
        scale, shift = self.from_tokens(latents.tokens.flatten(2))[:, :, None].chunk(2, -1)
        place = fourier_features(points.clamp(-1, 1), _OCTAVES).to(self.from_place.weight.dtype)
        hidden = F.silu(self.from_place(place) * (1 + scale) + shift)
        values = self.out(F.silu(self.middle(hidden)))
        weights = self._weights(points, latents, grid)
        image = (values * weights[..., None]).sum(1).mT.unflatten(-1, (side, side))
        return F.pixel_unshuffle(image, self.oversampling)

    @staticmethod
    def _weights(points: Float[Tensor, "b n p 2"], latents: RegionLatents, grid: int) -> Float[Tensor, "b n p"]:
        """Return 1 inside a region's box, falling to 0 over about a cell; the background is everywhere."""
        depth_in_cells = ((0.5 - points.abs()) * latents.pose.size[:, :, None] * grid).amin(-1)
        weights = torch.sigmoid(4 / _EDGE_CELLS * (depth_in_cells + _EDGE_CELLS / 2))
        weights = torch.cat([torch.ones_like(weights[:, :1]), weights[:, 1:]], 1)
        return weights * latents.valid[..., None]
