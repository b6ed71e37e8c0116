"""The one contract of everything that proposes masks: clean them, drop what is too small, too large or double, choose, number."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.suppression import mask_nms


@dataclass(frozen=True, kw_only=True)
class MaskRules:
    """Turn proposed masks into regions: fill holes, remove islands, judge areas, suppress doubles, choose a few, number them by area.

    All areas are shares of the picture. A hole is what a mask encloses (the picture's edge encloses nothing); an island is a piece that is
    smaller than the largest piece of its mask.

    Attributes:
        max_regions: most objects, the background not counted.
        min_area: smallest object, in [0, 1).
        max_area: largest object, in (0, 1]; larger masks are background.
        max_hole: holes up to this area are filled.
        max_island: islands up to this area are removed.
        max_overlap: intersection over union above which the mask with the lower score goes, in [0, 1].
        choose: the largest of too many objects, or a draw without replacement with probability proportional to area^(1/3).
        overlapping: return masks that may overlap; else every pixel has one owner, the smallest object that covers it.
    """

    max_regions: int = 5
    min_area: float = 0.002
    max_area: float = 0.9
    max_hole: float = 0.0005
    max_island: float = 0.0005
    max_overlap: float = 0.7
    choose: Literal["rank", "sample"] = "rank"
    overlapping: bool = False

    def __post_init__(self) -> None:
        if self.max_regions < 1:
            raise ValueError(f"max_regions={self.max_regions} leaves no object; it must be at least 1")
        for name in ("min_area", "max_area", "max_hole", "max_island", "max_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not a share in [0, 1]")
        if not self.min_area < self.max_area:
            raise ValueError(f"min_area={self.min_area} is not below max_area={self.max_area}, so no object would be left")
        if self.choose not in ("rank", "sample"):
            raise ValueError(f"choose={self.choose!r} is unknown; use 'rank' or 'sample'")

    def __call__(
        self, masks: Bool[Tensor, "m h w"], scores: Float[Tensor, " m"], seed: int = 0
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return the regions that are left.

        Args:
            masks: proposals, at the picture's size; none at all is all background.
            scores: larger is better.
            seed: of the draw; give `picture_key.key_seed`, so that the same picture always gives the same regions.

        Returns:
            A label map, 0 for the background and 1, 2, ... by falling area; or, if `overlapping`, masks in that order, of which row 0 is
            the background: where no object is.
        """
        masks = _cleaned(masks, self.max_hole, self.max_island)
        fitting = self._fits(masks)
        masks, scores = masks[fitting], scores[fitting]
        masks = masks[mask_nms(masks, scores, self.max_overlap)]
        masks = masks[self._chosen(masks, seed)]
        if not self.overlapping:
            masks = self._exclusive(masks)
        masks = masks[masks.sum((1, 2)).argsort(descending=True, stable=True)]
        if self.overlapping:
            return torch.cat([~masks.any(0, keepdim=True), masks])
        label_map = torch.zeros(masks.shape[1:], dtype=torch.long, device=masks.device)
        for number, mask in enumerate(masks, start=1):
            label_map[mask] = number
        return label_map

    def _fits(self, masks: Bool[Tensor, "m h w"]) -> Bool[Tensor, " m"]:
        areas, pixels = masks.sum((1, 2)), masks.shape[1] * masks.shape[2]
        return (areas >= max(1, self.min_area * pixels)) & (areas <= self.max_area * pixels)

    def _chosen(self, masks: Bool[Tensor, "m h w"], seed: int) -> Int[Tensor, " k"]:
        """Return the indices of at most `max_regions` masks, in their order."""
        areas = masks.sum((1, 2))
        if self.choose == "sample":
            # The first arrivals of processes with these rates are a draw without replacement with these weights.
            rng = random.Random(seed)
            places = torch.tensor([-rng.expovariate(1.0) / area ** (1 / 3) for area in areas.tolist()], dtype=torch.float64)
        else:
            places = areas
        best = places.argsort(descending=True, stable=True)[: self.max_regions]
        return best.sort().values.to(masks.device)

    def _exclusive(self, masks: Bool[Tensor, "k h w"]) -> Bool[Tensor, "n h w"]:
        """Give each object what no smaller one has, nor one of its size with a better score; one with too little left covers nothing."""
        masks, free = masks.clone(), masks.new_ones(masks.shape[1:])
        for index in masks.sum((1, 2)).argsort(stable=True).tolist():
            left = _cleaned((masks[index] & free)[None], 0.0, self.max_island)
            masks[index] = left[0] & self._fits(left)
            free &= ~masks[index]
        return masks[masks.any((1, 2))]


def _cleaned(masks: Bool[Tensor, "m h w"], max_hole: float, max_island: float) -> Bool[Tensor, "m h w"]:
    """Fill small holes, then remove small islands, each mask within its own box: ten times faster than on whole pictures."""
    pixels = masks.shape[1] * masks.shape[2]
    if max(max_hole, max_island) * pixels < 1:
        return masks
    cleaned = masks.cpu().numpy().copy()
    for mask, rows, columns in zip(cleaned, _extents(masks.any(2)), _extents(masks.any(1)), strict=True):
        part = mask[rows, columns]  # a view: `cleaned` is what changes
        part |= _holes(part, max_hole * pixels)
        part &= ~_islands(part, max_island * pixels)
    return torch.from_numpy(cleaned).to(masks.device)


def _extents(occupied: Bool[Tensor, "m s"]) -> list[slice]:
    """Return where each row's True values begin and end."""
    found = occupied.cpu().numpy()
    first, last = found.argmax(1), found.shape[1] - found[:, ::-1].argmax(1)
    return [slice(begin, end if row.any() else begin) for row, begin, end in zip(found, first, last, strict=True)]


def _holes(part: np.ndarray, largest: float) -> np.ndarray:
    """Mark what the mask encloses, up to `largest` pixels; its pixels touch at corners, those of a hole do not."""
    from scipy.ndimage import label

    labels, _ = label(np.pad(~part, 1, constant_values=True))
    small = np.bincount(labels.ravel()) <= largest
    small[0] = small[labels[0, 0]] = False  # the mask, and all that is connected with its surroundings
    return small[labels[1:-1, 1:-1]]


def _islands(part: np.ndarray, largest: float) -> np.ndarray:
    """Mark the pieces of up to `largest` pixels, but for the largest of all."""
    from scipy.ndimage import label

    labels, _ = label(part, np.ones((3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=1)
    sizes[0] = 0
    return ((sizes <= largest) & (sizes < sizes.max()) & (sizes > 0))[labels]
