"""SpriteLayout: decode every region's grid of tokens to a small picture with transparency, and lay these where they shall be painted."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.models.component import Component
from gen.models.pose_embedding import POSE_FEATURES, pose_features
from gen.regions import RegionLatents, RegionPose, cell_centres


class SpriteLayout(Component):
    """Draft the picture from the tokens: the decoder then only has to paint what the draft lacks, such as shadows.

    A region's tokens, told the pose they are painted in, become a sprite: colours and opacity in the frame of its own box. Moved, resized,
    turned and mirrored objects are moved, resized, turned and mirrored sprites by construction; sprites lower in the picture hide the
    ones above them, since their objects stand nearer. The first 3 x patch_size^2 channels of the map are the draft's colours.

    Args:
        num_queries: q, tokens per region: a square grid, as `RegionCropEncoder` gives it.
        width: d, of the tokens.
        patch_size: pixels a cell of the decoder's grid and axis.
        token_size: pixels of a sprite that one token becomes, a side.
        num_heads: of the attention among a region's tokens; divides `width`.

    Raises:
        ValueError: if the tokens are no square grid.

    Source: sprites as layers, Monnier et al. 2021, arXiv 2104.14575 (DTI-Sprites); the tokens are decoded, not learned once.
    """

    def __init__(self, num_queries: int = 16, width: int = 128, patch_size: int = 4, token_size: int = 8, num_heads: int = 4) -> None:
        super().__init__()
        self.side = math.isqrt(num_queries)
        if self.side**2 != num_queries:
            raise ValueError(
                f"model.conditioner.layout=sprites: {num_queries} tokens a region are no square grid; set model/region_encoder=crops"
            )
        self.num_queries, self.width, self.patch_size, self.token_size = num_queries, width, patch_size, token_size
        self.draft_channels, self.channels = 3 * patch_size**2, 4 * patch_size**2
        self.place = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.pose = nn.Sequential(nn.Linear(POSE_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.to_sprite = nn.Linear(width, 4 * token_size**2)

    def forward(self, latents: RegionLatents, grid: int) -> Float[Tensor, "b c g g"]:
        """Return the draft's colours and coverage on a `grid` x `grid` raster, every pixel of a cell in a channel of its own."""
        sprites = self.sprites(latents)
        side = grid * self.patch_size
        points = latents.pose.own_coordinates(cell_centres(side, side, sprites.device))
        layers = self._laid(sprites, points, side)
        inside = _soft_inside(points, latents.pose, side).unflatten(-1, (side, side))
        opacity = layers[:, :, 3].sigmoid() * inside * latents.valid[..., None, None]
        colour, coverage = _over(layers[:, :, :3], opacity, latents.pose)
        return F.pixel_unshuffle(torch.cat([colour, coverage[:, None]], 1), self.patch_size)

    def sprites(self, latents: RegionLatents) -> Float[Tensor, "b n 4 s s"]:
        """Decode every region's tokens to its sprite: RGB in about [-1, 1], and the logit of its opacity."""
        pose = self.pose(pose_features(latents.pose).to(self.place.dtype))
        hidden = (latents.tokens + self.place + pose[:, :, None]).flatten(0, 1)
        normed = self.norm_attention(hidden)
        hidden = hidden + self.attention(normed, normed, normed, need_weights=False)[0]
        hidden = hidden + self.mlp(self.norm_mlp(hidden))
        patches = self.to_sprite(hidden).mT.unflatten(-1, (self.side, self.side))
        return F.pixel_shuffle(patches, self.token_size).unflatten(0, latents.valid.shape)

    @staticmethod
    def _laid(sprites: Float[Tensor, "b n 4 s s"], points: Float[Tensor, "b n p 2"], side: int) -> Float[Tensor, "b n 4 h w"]:
        """Resample every sprite where the picture's pixels lie in its own box."""
        places = (2 * points).flatten(0, 1).unflatten(1, (side, side)).clamp(-2, 2)
        laid = F.grid_sample(sprites.flatten(0, 1).float(), places.float(), padding_mode="border", align_corners=False)
        return laid.unflatten(0, sprites.shape[:2])


def _soft_inside(points: Float[Tensor, "b n p 2"], pose: RegionPose, side: int) -> Float[Tensor, "b n p"]:
    """Return 1 inside a region's box, falling to 0 over a pixel at its border; the background is everywhere."""
    depth_in_pixels = ((0.5 - points.abs()) * pose.size[:, :, None] * side).amin(-1)
    inside = (depth_in_pixels + 0.5).clamp(0, 1)
    return torch.cat([torch.ones_like(inside[:, :1]), inside[:, 1:]], 1)


def _over(
    colours: Float[Tensor, "b n 3 h w"], opacity: Float[Tensor, "b n h w"], pose: RegionPose
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b h w"]]:
    """Lay the regions over one another, the background first, then from the highest lower edge to the lowest.

    Returns:
        Colours, and how much of each pixel the objects cover, in [0, 1].

    Source: Porter and Duff 1984, the operator "over".
    """
    bottom = pose.centre[..., 1] + pose.size[..., 1] / 2
    order = torch.cat([torch.zeros_like(bottom[:, :1], dtype=torch.long), bottom[:, 1:].argsort(1) + 1], 1)
    rows = torch.arange(len(order), device=order.device)
    picture, coverage = torch.zeros_like(colours[:, 0]), torch.zeros_like(opacity[:, 0])
    for layer in range(order.shape[1]):
        region = order[:, layer]
        share = opacity[rows, region]
        picture = torch.lerp(picture, colours[rows, region], share[:, None])
        coverage = torch.where((region > 0)[:, None, None], coverage + share - coverage * share, coverage)
    return picture, coverage
