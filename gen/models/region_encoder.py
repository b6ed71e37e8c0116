"""RegionEncoder: image and regions -> appearance tokens that know neither position nor neighbours."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.component import Component
from gen.models.image_backbone import COORDINATE_CHANNELS, ImageBackbone, fourier_features
from gen.models.region_pooling import PoolingBlock, align_boxes, average_cells, coverage_of_cells
from gen.regions import RegionPose, Regions, cell_centres, picture_coordinates

_OCTAVES = 3
_BOX_CELLS = 4


class RegionEncoder(Component):
    """Pool backbone features into `num_queries` tokens a region.

    With attention, a region's queries see only its own cells, and where a cell lies is told relative to the region's own box, so a token
    can describe shape and texture but not position (as far as the backbone's features do not tell it).

    Args:
        backbone: gives the features.
        num_queries: q, tokens per region.
        width: d, of the tokens; features of another width are projected.
        depth: attention blocks.
        num_heads: of each block; divides `width`.
        pooling: "attention"; "mean" averages the region's own cells (a baseline); "roi" resamples the region's box, in which neighbours
            may be seen (Neural Assets' recipe).
        combine_layers: of several layers' maps: "concatenate" puts them on the finest grid and joins their channels, "separate" lets
            every layer's cells be keys of their own (for attention).
        coordinates: give the backbone the place of every pixel in the un-augmented picture; it then has in_channels=6.

    Source: "roi": Wu et al. 2024, arXiv 2406.09292 (Neural Assets).
    """

    def __init__(
        self,
        backbone: ImageBackbone,
        num_queries: int = 2,
        width: int = 128,
        depth: int = 2,
        num_heads: int = 4,
        pooling: Literal["attention", "mean", "roi"] = "attention",
        combine_layers: Literal["concatenate", "separate"] = "concatenate",
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        separate = combine_layers == "separate"
        if separate and pooling != "attention":
            raise ValueError(f"model.region_encoder.combine_layers=separate: {pooling} pooling has one map; take concatenate, or attention")
        if width % num_heads:
            raise ValueError(f"model.region_encoder.width={width}: is no multiple of num_heads={num_heads}; change one of them")
        wanted = 4 + COORDINATE_CHANNELS * coordinates
        if backbone.in_channels != wanted:
            raise ValueError(
                f"model.region_encoder.coordinates={str(coordinates).lower()}: the backbone has in_channels={backbone.in_channels}; "
                f"set model.region_encoder.backbone.in_channels={wanted}"
            )
        self.num_queries, self.width, self.pooling, self.separate, self.coordinates = num_queries, width, pooling, separate, coordinates
        self.backbone = backbone
        if pooling == "attention":
            self.queries = nn.Parameter(torch.randn(num_queries, width) * 0.02)
            self.blocks = nn.ModuleList(PoolingBlock(width, num_heads, 2 + 4 * _OCTAVES + 1) for _ in range(depth))
        else:
            cells = 1 if pooling == "mean" else _BOX_CELLS**2
            self.to_tokens = nn.Sequential(nn.Linear(cells * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, num_queries * width))
        widths = backbone.widths if separate else [sum(backbone.widths)]
        self.projections = nn.ModuleList()
        if widths != [width]:
            self.projections.extend(nn.Sequential(nn.Linear(each, width), nn.LayerNorm(width)) for each in widths)
        self.layer_embedding = nn.Parameter(torch.randn(len(widths), width) * 0.02) if len(widths) > 1 else None
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        pixel_values: Float[Tensor, "b 3 h w"],
        regions: Regions,
        known: Bool[Tensor, "b h w"] | None = None,
        coordinates: Float[Tensor, "b 2 h w"] | None = None,
    ) -> Float[Tensor, "b n q d"]:
        """Encode every region.

        Args:
            pixel_values: in [-1, 1].
            regions: of the image; regions that are not valid get zeros.
            known: False where pixels are erased before the network sees them; None means all are known.
            coordinates: (x, y) in [-1, 1] of the place in the un-augmented picture that each pixel shows; None means that this is the
                un-augmented picture. Only read with `coordinates=true`.

        Returns:
            Appearance tokens, layer-normalised.
        """
        maps = self._maps(self._image(pixel_values, known, coordinates))
        tokens = self._attend(maps, regions) if self.pooling == "attention" else self._pool(maps[0], regions)
        return self.norm(tokens) * regions.valid[..., None, None]

    def _image(
        self, pixel_values: Float[Tensor, "b 3 h w"], known: Bool[Tensor, "b h w"] | None, coordinates: Float[Tensor, "b 2 h w"] | None
    ) -> Float[Tensor, "b c h w"]:
        """Return what the backbone sees."""
        height, width = pixel_values.shape[-2:]
        if known is None:
            known = torch.ones_like(pixel_values[:, 0], dtype=torch.bool)
        channels = [pixel_values * known[:, None], known[:, None].to(pixel_values.dtype)]
        if self.coordinates:
            if coordinates is None:
                coordinates = picture_coordinates(height, width, pixel_values.device).expand(len(pixel_values), -1, -1, -1)
            channels.append(coordinates.to(pixel_values.dtype))
        return torch.cat(channels, 1)

    def _maps(self, image: Float[Tensor, "b c h w"]) -> list[Float[Tensor, "b d _ _"]]:
        """Return the backbone's maps, joined or not, with the tokens' width."""
        maps = self.backbone(image)
        if not self.separate and len(maps) > 1:
            finest = max(each.shape[-1] for each in maps)
            # Cells are repeated, not blended: a region's cells take nothing from their neighbours.
            maps = [torch.cat([F.interpolate(each, (finest, finest), mode="nearest-exact") for each in maps], 1)]
        if self.projections:
            maps = [project(each.movedim(1, -1)).movedim(-1, 1) for project, each in zip(self.projections, maps, strict=True)]
        return maps

    def _pool(self, features: Float[Tensor, "b d g g"], regions: Regions) -> Float[Tensor, "b n q d"]:
        """Turn every region's own average, or its box, into tokens."""
        if self.pooling == "mean":
            pooled = average_cells(features, coverage_of_cells(regions.masks, features.shape[-1]))
        else:
            pooled = align_boxes(features, regions.boxes(), _BOX_CELLS).flatten(2)
        return self.to_tokens(pooled).unflatten(-1, (self.num_queries, self.width))

    def _attend(self, maps: list[Float[Tensor, "b d _ _"]], regions: Regions) -> Float[Tensor, "b n q d"]:
        """Let every region's queries look at its own cells of all maps."""
        pose = RegionPose.from_regions(regions)
        cells, coverages, points = [], [], []
        for layer, features in enumerate(maps):
            grid = features.shape[-1]
            keys = features.flatten(2).mT
            cells.append(keys if self.layer_embedding is None else keys + self.layer_embedding[layer])
            coverages.append(coverage_of_cells(regions.masks, grid))
            points.append(cell_centres(grid, grid, features.device))
        coverage = torch.cat(coverages, 2)
        place = fourier_features(pose.own_coordinates(torch.cat(points)).clamp(-1, 1), _OCTAVES)
        place = torch.cat([place, coverage[..., None]], -1)
        own = coverage > 0
        # An absent region has no cell to look at: let it look everywhere, and clear its tokens below.
        visible = own | ~own.any(-1, keepdim=True)
        tokens = self.queries.expand(*regions.valid.shape, -1, -1)
        keys = torch.cat(cells, 1)
        for block in self.blocks:
            tokens = block(tokens, keys, place, visible)
        return tokens
