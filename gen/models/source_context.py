"""SourceContext: the picture that an edit starts from, with everything that may change erased."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.regions import TensorFields


@dataclass(frozen=True)
class SourceContext(TensorFields):
    """Surroundings that the decoder may look at.

    Attributes:
        pixel_values: in [-1, 1].
        known: False where pixels are erased before the decoder sees them.
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    known: Bool[Tensor, "b h w"]

    @staticmethod
    def nothing(batch_size: int, resolution: int, device: torch.device | str = "cpu") -> SourceContext:
        """Return a context in which everything is erased: the decoder paints from the latents alone."""
        pixel_values = torch.zeros(batch_size, 3, resolution, resolution, device=device)
        return SourceContext(pixel_values, torch.zeros_like(pixel_values[:, 0], dtype=torch.bool))

    def channels(self, grid: int) -> Float[Tensor, "b c g g"]:
        """Return erased pixels and mask as input channels on the decoder's grid, every pixel of a cell in a channel of its own."""
        known = self.known[:, None].to(self.pixel_values.dtype)
        return fold(torch.cat([self.pixel_values * known, known], 1), grid)

    def continued(self, open_floor: Float[Tensor, "b h w"] | None = None) -> Float[Tensor, "b 3 h w"]:
        """Return what is known of the floor, continued smoothly over the rest; zeros where nothing is known.

        Args:
            open_floor: how much of each pixel is floor and not an object, in [0, 1]; None: all is floor.

        Source: the pull-push of Gortler et al. 1996 (The Lumigraph), section 3.4.
        """
        known = self.known[:, None].to(self.pixel_values.dtype)
        weight = known if open_floor is None else known * open_floor[:, None].to(known.dtype)
        levels = [(self.pixel_values * weight, weight)]
        while min(levels[-1][1].shape[-2:]) > 1 and not any(side % 2 for side in levels[-1][1].shape[-2:]):
            levels.append((F.avg_pool2d(levels[-1][0], 2), F.avg_pool2d(levels[-1][1], 2)))
        total, weight = (level.mean((2, 3), keepdim=True) for level in levels[-1])
        filled = (total / weight.clamp_min(1e-12)).expand_as(levels[-1][0])
        for total, weight in reversed(levels):
            if filled.shape != total.shape:
                filled = F.interpolate(filled, scale_factor=2, mode="bilinear", align_corners=False)
            filled = torch.lerp(filled, total / weight.clamp_min(1e-12), weight)
        return filled


def fold(pixels: Float[Tensor, "b c h w"], grid: int) -> Float[Tensor, "b k g g"]:
    """Put every pixel of a cell into a channel of its own: a channel's pixels stay together."""
    return F.pixel_unshuffle(pixels, pixels.shape[-1] // grid)


def context_channels(resolution: int, grid: int) -> int:
    """Return how many channels a context has on the decoder's grid."""
    return 4 * (resolution // grid) ** 2
