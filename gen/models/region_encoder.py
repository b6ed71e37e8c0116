"""RegionEncoder: image and regions -> appearance tokens that know neither position nor neighbours."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.image_backbone import ConvBackbone, fourier_features
from gen.regions import RegionPose, Regions, cell_centres, masks_to_grid

_OCTAVES = 3


class RegionEncoder(ModelMixin, ConfigMixin):
    """Pool backbone features into `num_queries` tokens a region; a region's queries see only its own cells.

    Where a cell lies is told relative to the region's own box, so a token can describe shape and texture but not position.

    Args:
        num_queries: q, tokens per region.
        width: d, of features and tokens.
        depth: attention blocks.
        num_heads: of each block.
        backbone_depth: residual blocks of the backbone.
    """

    @register_to_config
    def __init__(self, num_queries: int = 2, width: int = 128, depth: int = 2, num_heads: int = 4, backbone_depth: int = 2) -> None:
        super().__init__()
        self.backbone = ConvBackbone(4, width, backbone_depth)
        self.queries = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.blocks = nn.ModuleList(PoolingBlock(width, num_heads, 2 + 4 * _OCTAVES + 1) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, pixel_values: Float[Tensor, "b 3 h w"], regions: Regions, known: Bool[Tensor, "b h w"] | None = None
    ) -> Float[Tensor, "b n q d"]:
        """Encode every region.

        Args:
            pixel_values: in [-1, 1].
            regions: of the image; regions that are not valid get zeros.
            known: False where pixels are erased before the network sees them; None means all are known.

        Returns:
            Appearance tokens, layer-normalised.
        """
        if known is None:
            known = torch.ones_like(regions.masks[:, 0])
        image = torch.cat([pixel_values * known[:, None], known[:, None].to(pixel_values.dtype)], 1)
        features = self.backbone(image)
        grid = features.shape[-1]
        cells = masks_to_grid(regions.masks, grid).flatten(2)
        coverage = F.adaptive_avg_pool2d(regions.masks.float(), grid).flatten(2)
        points = RegionPose.from_regions(regions).own_coordinates(cell_centres(grid, grid, features.device))
        place = torch.cat([fourier_features(points.clamp(-1, 1), _OCTAVES), coverage[..., None]], -1)
        # An absent region has no cell to look at: let it look everywhere, and clear its tokens below.
        visible = cells | ~cells.any(-1, keepdim=True)
        tokens = self.queries.expand(*regions.valid.shape, -1, -1)
        for block in self.blocks:
            tokens = block(tokens, features.flatten(2).mT, place, visible)
        return self.norm(tokens) * regions.valid[..., None, None]


class PoolingBlock(nn.Module):
    """Pre-norm masked cross-attention from a region's queries to its cells, then an MLP.

    Keys and values are linear in (features, place), so both products are taken apart: q (K_f f + K_p p) = (q K_f) f + (q K_p) p. Nothing of
    size regions x cells x width is ever built.

    Args:
        width: d, of tokens and features.
        num_heads: of the attention.
        place_features: numbers that say where a cell lies in a region's own box.
    """

    def __init__(self, width: int, num_heads: int, place_features: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_query, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_query, self.to_out = nn.Linear(width, width), nn.Linear(width, width)
        self.from_features, self.from_place = nn.Linear(width, 2 * width), nn.Linear(place_features, 2 * width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(
        self,
        tokens: Float[Tensor, "b n q d"],
        features: Float[Tensor, "b p d"],
        place: Float[Tensor, "b n p f"],
        visible: Bool[Tensor, "b n p"],
    ) -> Float[Tensor, "b n q d"]:
        """Update tokens from the visible ones of p cells; `place` says where each cell lies in each region's own box."""
        heads = (self.num_heads, -1)
        query = self.to_query(self.norm_query(tokens)).unflatten(-1, heads).float()
        key, value = (x.unflatten(-1, heads).float() for x in self.from_features(features).chunk(2, -1))
        key_place, value_place = (x.unflatten(0, heads).float() for x in self.from_place.weight.chunk(2, 0))
        with torch.autocast(tokens.device.type, enabled=False):
            logits = torch.einsum("bnqhk,bphk->bnqhp", query, key)
            logits = logits + torch.einsum("bnqhf,bnpf->bnqhp", torch.einsum("bnqhk,hkf->bnqhf", query, key_place), place)
            logits = logits.masked_fill(~visible[:, :, None, None], -torch.inf) / query.shape[-1] ** 0.5
            attention = logits.softmax(-1)
            pooled = torch.einsum("bnqhp,bphk->bnqhk", attention, value)
            pooled = pooled + torch.einsum("bnqhf,hkf->bnqhk", torch.einsum("bnqhp,bnpf->bnqhf", attention, place), value_place)
        tokens = tokens + self.to_out(pooled.flatten(3))
        return tokens + self.mlp(self.norm_mlp(tokens))
