"""How alike two pictures are: PSNR, and the baseline that every picture is compared with."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def psnr(
    images: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"] | None = None
) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio of each picture in dB, at most 100.

    Args:
        images: in [-1, 1].
        truth: in [-1, 1].
        mask: pixels that count; None for all; a sample without any gets NaN.
    """
    error = ((images - truth) / 2).square().mean(1)
    if mask is None:
        mean = error.mean((1, 2))
    else:
        mean = (error * mask).sum((1, 2)) / mask.sum((1, 2))
    return -10 * torch.log10(mean.clamp_min(1e-10))


def mean_colour(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Return each picture's own mean colour everywhere: the least that a reconstruction must beat."""
    return images.mean((2, 3), keepdim=True).expand_as(images)
