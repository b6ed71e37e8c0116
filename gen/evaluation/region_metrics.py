"""Whether one object is where it was asked, still has its colour, or is gone: measured against exact renders."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.regions import cell_centres


def object_pixels(
    images: Float[Tensor, "b 3 h w"], empty: Float[Tensor, "b 3 h w"], contrast: Float[Tensor, " b"]
) -> Bool[Tensor, "b h w"]:
    """Mark the pixels that differ from the empty scene by more than half of the object's contrast.

    Args:
        images: pictures with the object somewhere.
        empty: the same scenes rendered without the object.
        contrast: distance of object and empty scene, see `object_contrast`.
    """
    return distance(images, empty) > contrast[:, None, None] / 2


def object_contrast(truth: Float[Tensor, "b 3 h w"], empty: Float[Tensor, "b 3 h w"], mask: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return the median colour distance between the true object and the empty scene behind it."""
    apart = distance(truth, empty)
    return torch.stack([apart[i][mask[i]].median() for i in range(len(apart))])


def centroid_error(found: Bool[Tensor, "b h w"], asked: Bool[Tensor, "b h w"]) -> Float[Tensor, " b"]:
    """Return the distance between two masks' centroids as a share of the picture's width; infinite where nothing was found."""
    height, width = found.shape[-2:]
    points = cell_centres(height, width, found.device)
    first, second = (mask.flatten(1).float() for mask in (found, asked))
    centres = [(mask @ points) / mask.sum(1, keepdim=True) for mask in (first, second)]
    return (centres[0] - centres[1]).norm(dim=-1).nan_to_num(torch.inf)


def nearest_candidate(images: Float[Tensor, "b 3 h w"], candidates: Float[Tensor, "b k 3 h w"], mask: Bool[Tensor, "b h w"]) -> list[int]:
    """Return for each picture which candidate render it is nearest to inside the mask, by mean squared error."""
    error = (images[:, None] - candidates).square().mean(2)
    return ((error * mask[:, None]).sum((2, 3))).argmin(1).tolist()


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
