"""From a grid of features to one description a region: attention over its cells, their average, or a resampled box."""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

_SAMPLES = 2  # a side, of each cell of a box


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


def coverage_of_cells(masks: Bool[Tensor, "b n h w"], grid: int) -> Float[Tensor, "b n p"]:
    """Return which share of each cell of a grid every region covers; above zero if any of the cell's pixels belongs to it.

    Sides that are no multiples of `grid` give cells that share pixels.
    """
    return F.adaptive_avg_pool2d(masks.float(), grid).flatten(2)


def average_cells(features: Float[Tensor, "b d g g"], coverage: Float[Tensor, "b n p"]) -> Float[Tensor, "b n d"]:
    """Average every region's own cells, each by the share of it that the region covers; zeros for a region without cells."""
    weights = coverage / coverage.sum(-1, keepdim=True).clamp_min(1e-6)
    return weights @ features.float().flatten(2).mT


def align_boxes(features: Float[Tensor, "b d g g"], boxes: Float[Tensor, "b n 4"], cells: int) -> Float[Tensor, "b n d s s"]:
    """Resample every box to `cells` x `cells` cells, each the mean of 2x2 bilinear samples at exact places.

    Args:
        features: of the whole image.
        boxes: (left, top, right, bottom) in image units [0, 1].
        cells: s, a side.

    Source: He et al. 2017, arXiv 1703.06870, section 3 (RoIAlign).
    """
    steps = (torch.arange(cells * _SAMPLES, device=boxes.device) + 0.5) / (cells * _SAMPLES)
    first, last = boxes[:, :, None, :2], boxes[:, :, None, 2:]
    x, y = (first + (last - first) * steps[:, None]).unbind(-1)
    points = torch.stack([x[:, :, None].expand(-1, -1, steps.numel(), -1), y[..., None].expand(-1, -1, -1, steps.numel())], -1)
    sampled = F.grid_sample(features.float(), points.flatten(1, 2) * 2 - 1, padding_mode="border", align_corners=False)
    sampled = sampled.unflatten(2, (boxes.shape[1], -1)).movedim(2, 1)
    return F.avg_pool2d(sampled.flatten(0, 1), _SAMPLES).unflatten(0, boxes.shape[:2])
