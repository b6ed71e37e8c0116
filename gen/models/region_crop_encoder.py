"""RegionCropEncoder: every region is cut out and encoded alone, into a grid of tokens that lies in its own box."""

from __future__ import annotations

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.component import Component
from gen.models.image_backbone import ImageBackbone
from gen.regions import Regions


class RegionCropEncoder(Component):
    """Resample every region's own pixels to a square crop, and turn the crop into a square grid of tokens.

    Nothing outside a region's mask reaches its tokens, so they cannot know its neighbours; and a crop does not say where it was cut, so
    they can know position only as far as it shows in the object's own look (perspective, light). Tokens go row by row
    through the region's box.

    Args:
        backbone: sees RGB and the region's own mask.
        num_queries: q, tokens per region: a square number.
        width: d, of the tokens.
        crop_size: pixels a side of a crop.

    Raises:
        ValueError: if the tokens are no square grid, or the backbone wants coordinates, which would tell the position.
    """

    def __init__(self, backbone: ImageBackbone, num_queries: int = 16, width: int = 128, crop_size: int = 32) -> None:
        super().__init__()
        if backbone.in_channels != 4:
            raise ValueError(
                f"model.region_encoder.backbone.in_channels={backbone.in_channels}: crops have no place in the picture; give in_channels=4"
            )
        side = math.isqrt(num_queries)
        if side < 1 or side**2 != num_queries:
            raise ValueError(f"model.region_encoder.num_queries={num_queries} is no square grid of tokens; give 1, 4, 9, 16, ...")
        if crop_size < 8 or crop_size % 4:
            raise ValueError(f"model.region_encoder.crop_size={crop_size} is no multiple of 4 from 8 on; give 32 or another")
        self.side, self.num_queries, self.width, self.crop_size = side, num_queries, width, crop_size
        self.backbone = backbone
        self.to_tokens = nn.Sequential(nn.Linear(4 * sum(backbone.widths), 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
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
            coordinates: not read.

        Returns:
            Appearance tokens, layer-normalised.
        """
        masks = regions.masks if known is None else regions.masks & known[:, None]
        there = regions.valid.clone()
        there[0, 0] = True  # a batch of nothing is no input for a convolution
        crops = crop_regions(pixel_values, masks, regions.boxes(), self.crop_size, there)
        cells = 2 * self.side
        maps = torch.cat([F.adaptive_avg_pool2d(each, cells) for each in self.backbone(crops)], 1)
        places = F.pixel_unshuffle(maps, 2).flatten(2).mT
        found = self.norm(self.to_tokens(places))
        tokens = found.new_zeros(*regions.valid.shape, self.num_queries, self.width)
        tokens[there] = found
        return tokens * regions.valid[..., None, None]


def crop_regions(
    pixel_values: Float[Tensor, "b 3 h w"],
    masks: Bool[Tensor, "b n h w"],
    boxes: Float[Tensor, "b n 4"],
    crop_size: int,
    chosen: Bool[Tensor, "b n"],
) -> Float[Tensor, "m 4 s s"]:
    """Resample every chosen region's box to a square, bilinearly: its own pixels, 0 elsewhere, and its own mask.

    Args:
        pixel_values: in [-1, 1].
        masks: what belongs to each region.
        boxes: (left, top, right, bottom) in image units [0, 1].
        crop_size: s, pixels a side.
        chosen: the m regions.
    """
    sample, region = chosen.nonzero(as_tuple=True)
    own = masks[sample, region][:, None].to(pixel_values.dtype)
    layers = torch.cat([pixel_values[sample] * own, own], 1)
    steps = (torch.arange(crop_size, device=boxes.device) + 0.5) / crop_size
    first, last = boxes[sample, region, :2], boxes[sample, region, 2:]
    x, y = (first[:, None] + (last - first)[:, None] * steps[:, None]).unbind(-1)
    grid = torch.stack([x[:, None].expand(-1, crop_size, -1), y[:, :, None].expand(-1, -1, crop_size)], -1) * 2 - 1
    return F.grid_sample(layers, grid.to(layers.dtype), padding_mode="border", align_corners=False)
