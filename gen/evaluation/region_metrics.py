"""Whether one object is where it was asked, or is gone: measured against exact renders."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.regions import cell_centres

_SAMPLES = 16  # colours that stand for an object, from its darkest to its brightest pixel
_TOLERANCE = 0.03  # of the floor's brightness
_NOISE = 0.08  # distance in [0, 1] RGB below which two colours are the same


def object_pixels(
    images: Float[Tensor, "b 3 h w"], truth: Float[Tensor, "b 3 h w"], empty: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"]
) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that look more like the object than like the empty scene, lit or as dark as the object's true shadow.

    A white object's dark side can look like shaded floor, so a pixel of the true object that is painted as it should be counts as well.

    Args:
        images: pictures with the object somewhere.
        truth: the scenes with the object; its colours are taken from there.
        empty: the same scenes rendered without the object.
        mask: the object's pixels in `truth`.
    """
    found = []
    for image, true, floor, own in zip((images + 1) / 2, (truth + 1) / 2, (empty + 1) / 2, mask, strict=True):
        colours = true[:, own]
        order = colours.sum(0).argsort()[torch.linspace(0, colours.shape[1] - 1, _SAMPLES).long()]
        to_object = (image[:, None] - colours[:, order, None, None]).square().sum(0).sqrt().amin(0)
        around = _brightness(true, floor)[~own]  # nothing, if the object is all that there is
        darkest = (float(around.amin()) if around.numel() else 1.0) - _TOLERANCE
        shade = _brightness(image, floor).clamp(darkest, 1 + _TOLERANCE)
        to_floor = (image - shade * floor).square().sum(0).sqrt()
        as_it_should_be = own & ((image - true).square().sum(0).sqrt() < _NOISE)
        found.append(as_it_should_be | ((to_object < to_floor) & (to_floor > _NOISE)))
    return torch.stack(found)


def _brightness(image: Float[Tensor, "3 h w"], floor: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """Return the factor by which each pixel of the floor comes nearest to the image's."""
    return (image * floor).sum(0) / floor.square().sum(0).clamp_min(1e-6)


def centroids(masks: Bool[Tensor, "b h w"]) -> Float[Tensor, "b 2"]:
    """Return the mean (x, y) of each mask's pixels in image units; NaN where a mask is empty, which has no centre."""
    height, width = masks.shape[-2:]
    inside = masks.flatten(1).float()
    return (inside @ cell_centres(height, width, masks.device)) / inside.sum(1, keepdim=True)


def centroid_error(found: Bool[Tensor, "b h w"], asked: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return the distance between two masks' centroids as a share of the picture's width; infinite where either is empty."""
    return (centroids(found) - centroids(asked)).norm(dim=-1).nan_to_num(torch.inf)


def residual_share(
    images: Float[Tensor, "b 3 h w"], before: Float[Tensor, "b 3 h w"], after: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"]
) -> Float[Tensor, " b"]:
    """Return the share of the removed object's pixels that still look more like the object than like what is behind it.

    Args:
        images: edited pictures.
        before: with the object.
        after: rendered without it.
        mask: the object's visible pixels.
    """
    remains = (distance(images, before) < distance(images, after)) & mask
    return remains.sum((1, 2)) / mask.sum((1, 2)).clamp_min(1)


def distance(images: Float[Tensor, "b 3 h w"], others: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b h w"]:
    """Return the Euclidean distance of two pictures' colours, pixel by pixel."""
    return (images - others).square().sum(1).sqrt()
