"""Conditioning pictures for a ControlNet: outlines of regions, edges of a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def outlines(label_maps: Int[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
    """Draw the regions' outlines, white (1) on black (-1), two pixels wide: a pixel on either side of the border."""
    border = torch.zeros_like(label_maps, dtype=torch.bool)
    across = label_maps[..., 1:] != label_maps[..., :-1]
    down = label_maps[:, 1:] != label_maps[:, :-1]
    border[..., 1:] |= across
    border[..., :-1] |= across
    border[:, 1:] |= down
    border[:, :-1] |= down
    return _grey(border.float())


def edges(pixel_values: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Return the size of the gradient (Sobel), of the colour channel where it is largest; a step from black to white is white (1)."""
    smooth, difference = torch.tensor([1.0, 2.0, 1.0]) / 4, torch.tensor([-1.0, 0.0, 1.0]) / 2
    kernels = torch.stack([smooth[:, None] * difference, difference[:, None] * smooth])[:, None]
    padded = F.pad(pixel_values, (1, 1, 1, 1), mode="replicate").flatten(0, 1)[:, None]
    gradient = F.conv2d(padded, kernels).norm(dim=1).unflatten(0, (-1, 3))
    return _grey(gradient.amax(1).clamp(max=1))


def _grey(values: Float[Tensor, "b h w"]) -> Float[Tensor, "b 3 h w"]:
    return (2 * values - 1)[:, None].repeat(1, 3, 1, 1)
