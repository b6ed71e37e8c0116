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
    ones above them, since their objects stand nearer. The background's sprite lies apart, so that something better can take its place.

    Args:
        num_queries: q, tokens per region: a square grid, as `RegionCropEncoder` gives it.
        width: d, of the tokens.
        patch_size: pixels a cell of the decoder's grid and axis.
        token_size: pixels of a sprite that one token becomes, a side.
        depth: blocks of attention among a region's tokens, which turn an object for another pose.
        num_heads: of each block; divides `width`.

    Raises:
        ValueError: if the tokens are no square grid, or sizes do not fit.

    Source: sprites as layers, Monnier et al. 2021, arXiv 2104.14575 (DTI-Sprites); the tokens are decoded, not learned once.
    """

    def __init__(
        self, num_queries: int = 16, width: int = 128, patch_size: int = 4, token_size: int = 8, depth: int = 3, num_heads: int = 4
    ) -> None:
        super().__init__()
        self.side = math.isqrt(num_queries)
        if self.side**2 != num_queries:
            raise ValueError(
                f"model.conditioner.layout=sprites: {num_queries} tokens a region are no square grid; set model/region_encoder=crops"
            )
        self.num_queries, self.width, self.patch_size, self.token_size = num_queries, width, patch_size, token_size
        self.draft_channels = (3 * patch_size**2, patch_size**2, 3 * patch_size**2)
        self.channels = sum(self.draft_channels)
        self.place = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.pose = nn.Sequential(nn.Linear(POSE_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, num_heads, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(depth)
        )
        if token_size < 2 or token_size % 2:
            raise ValueError(f"model.conditioner.layout.token_size={token_size}: a token becomes 2 x 2 cells; give an even number")
        if patch_size < 1 or depth < 0:
            raise ValueError(f"model.conditioner.layout.patch_size={patch_size} or depth={depth} is too small; give at least 1 and 0")
        if width % num_heads:
            raise ValueError(f"model.conditioner.layout.num_heads={num_heads} does not divide width={width}; change one of them")
        cells = width // 2
        self.to_cells = nn.Linear(width, 4 * cells)
        self.seams = nn.Sequential(nn.SiLU(), nn.Conv2d(cells, cells, 3, padding=1, padding_mode="replicate"))
        self.to_pixels = nn.Sequential(nn.SiLU(), nn.Conv2d(cells, token_size**2, 3, padding=1, padding_mode="replicate"))

    def forward(self, latents: RegionLatents, grid: int) -> Float[Tensor, "b c g g"]:
        """Return a draft on a `grid` x `grid` raster, every pixel of a cell in a channel of its own.

        Returns:
            The objects' colours times coverage, how much they cover of each pixel, and the background's colours.
        """
        sprites = self.sprites(latents)
        side = grid * self.patch_size
        points = latents.pose.own_coordinates(cell_centres(side, side, sprites.device))
        layers = self._laid(sprites, points, side)
        inside = _soft_inside(points, latents.pose, side).unflatten(-1, (side, side))
        opacity = layers[:, :, 3].sigmoid() * inside * latents.valid[..., None, None]
        colours, coverage = _over(layers[:, 1:, :3], opacity[:, 1:], latents.pose.boxes()[:, 1:, 3])
        background = layers[:, 0, :3] * latents.valid[:, 0, None, None, None]
        return F.pixel_unshuffle(torch.cat([colours, coverage[:, None], background], 1), self.patch_size)

    def sprites(self, latents: RegionLatents) -> Float[Tensor, "b n 4 s s"]:
        """Decode every region's tokens to its sprite: RGB in about [-1, 1], and the logit of its opacity; zeros where no region is."""
        pose = self.pose(pose_features(latents.pose).to(self.place.dtype))
        there = latents.valid.clone()
        there[0, 0] = True  # a batch of nothing has no gradient
        hidden = (latents.tokens + self.place + pose[:, :, None])[there]
        for block in self.blocks:
            hidden = block(hidden)
        cells = F.pixel_shuffle(self.to_cells(hidden).mT.unflatten(-1, (self.side, self.side)), 2)
        cells = cells + self.seams(cells)
        found = F.pixel_shuffle(self.to_pixels(cells), self.token_size // 2)
        sprites = found.new_zeros(*latents.valid.shape, *found.shape[1:])
        sprites[there] = found
        return sprites

    @staticmethod
    def _laid(sprites: Float[Tensor, "b n 4 s s"], points: Float[Tensor, "b n p 2"], side: int) -> Float[Tensor, "b n 4 h w"]:
        """Resample every sprite where the picture's pixels lie in its own box."""
        places = (2 * points).flatten(0, 1).unflatten(1, (side, side)).clamp(-2, 2)
        laid = F.grid_sample(sprites.flatten(0, 1).float(), places.float(), padding_mode="border", align_corners=False)
        return laid.unflatten(0, sprites.shape[:2])


def _soft_inside(points: Float[Tensor, "b n p 2"], pose: RegionPose, side: int) -> Float[Tensor, "b n p"]:
    """Return 1 inside a region's box, falling to 0 over a pixel at its border."""
    depth_in_pixels = ((0.5 - points.abs()) * pose.size[:, :, None] * side).amin(-1)
    return (depth_in_pixels + 0.5).clamp(0, 1)


def _over(
    colours: Float[Tensor, "b m 3 h w"], opacity: Float[Tensor, "b m h w"], bottom: Float[Tensor, "b m"]
) -> tuple[Float[Tensor, "b 3 h w"], Float[Tensor, "b h w"]]:
    """Lay objects over one another, from the highest lower edge to the lowest.

    Returns:
        Colours times coverage, and coverage, in [0, 1].

    Source: Porter and Duff 1984, the operator "over" on premultiplied colours.
    """
    order = bottom.argsort(1)
    rows = torch.arange(len(order), device=order.device)
    picture, coverage = torch.zeros_like(colours[:, 0]), torch.zeros_like(opacity[:, 0])
    for layer in range(order.shape[1]):
        share, colour = opacity[rows, order[:, layer]], colours[rows, order[:, layer]]
        picture = torch.lerp(picture, colour, share[:, None])
        coverage = coverage + share - coverage * share
    return picture, coverage
