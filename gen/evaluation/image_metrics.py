"""How alike two pictures are, pixel by pixel: PSNR, SSIM, and the baseline that every picture is compared with."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_SSIM_WINDOW = 11  # pixels: what a Gaussian of 1.5 pixels is cut to


def psnr(
    images: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"] | None = None
) -> Float[Tensor, " b"]:
    """Return the peak signal-to-noise ratio of each picture in dB, at most 100.

    Args:
        images: in [-1, 1].
        truth: in [-1, 1].
        mask: pixels that count; None for all; a sample without any gets NaN, for it has no error to speak of.
    """
    error = ((images - truth) / 2).square().mean(1)
    return -10 * torch.log10(_mean(error, mask).clamp_min(1e-10))


def ssim(
    images: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"] | None = None
) -> Float[Tensor, " b"]:
    """Return the structural similarity of each picture in [-1, 1]; 1 for identical ones.

    Computed in [0, 1] (data range 1: the luminance term has no meaning for negative intensities), each channel by itself, with the
    published Gaussian window (11 pixels, sigma 1.5), K1 = 0.01, K2 = 0.03 and population covariances; then averaged over channels and
    pixels. Pixels at the border count like all others, their windows mirrored, so that no mask and a mask of all pixels agree;
    scikit-image's single number leaves out a frame of 5 pixels instead. A window sees 5 pixels beyond a mask's edge.

    Args:
        images: in [-1, 1].
        truth: in [-1, 1].
        mask: pixels that count; None for all; a sample without any gets NaN, for it has nothing to compare.

    Raises:
        ValueError: if a side is shorter than the window.

    Source: Wang et al., Image quality assessment: from error visibility to structural similarity, 2004, equation 13.
    """
    from skimage.metrics import structural_similarity

    height, width = images.shape[-2:]
    if min(height, width) < _SSIM_WINDOW:
        raise ValueError(f"SSIM of pictures of {height}x{width} pixels: its window has {_SSIM_WINDOW} pixels; compare larger pictures")
    maps = []
    for image, true in zip(images, truth, strict=True):
        pair = [((picture.detach().double().cpu() + 1) / 2).numpy() for picture in (image, true)]
        _, similarity = structural_similarity(
            *pair, data_range=1.0, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        maps.append(torch.from_numpy(similarity).mean(0))
    return _mean(torch.stack(maps).to(images), mask)


def mean_colour(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Return each picture's own mean colour everywhere: the least that a reconstruction must beat."""
    return images.mean((2, 3), keepdim=True).expand_as(images)


def _mean(values: Float[Tensor, "b h w"], mask: Bool[Tensor, "b h w"] | None) -> Float[Tensor, " b"]:
    """Average over the pixels that count; NaN where none does."""
    return values.mean((1, 2)) if mask is None else (values * mask).sum((1, 2)) / mask.sum((1, 2))
