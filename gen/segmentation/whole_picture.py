"""The whole picture as one region."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class WholePicture:
    """Call everything background: one latent describes the whole picture.

    Source: the one global latent of SODA, Hudson et al. 2023, arXiv 2311.17901.
    """

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"]:
        """Return zeros; neither argument's values are looked at."""
        return torch.zeros(pixel_values.shape[-2:], dtype=torch.long, device=pixel_values.device)
