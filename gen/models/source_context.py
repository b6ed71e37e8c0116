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
        return F.pixel_unshuffle(torch.cat([self.pixel_values * known, known], 1), self.known.shape[-1] // grid)


def context_channels(resolution: int, grid: int) -> int:
    """Return how many channels a context has on the decoder's grid."""
    return 4 * (resolution // grid) ** 2
