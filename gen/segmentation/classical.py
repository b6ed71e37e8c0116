"""Regions from colour alone: over-segment, merge alike neighbours, call what touches the border background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_WORKING_SIDE = 192  # pixels; colour edges survive, texture and cost do not
_LIGHTNESS_WEIGHT = 0.4  # shading and shadow change lightness much more than chroma


@dataclass(frozen=True)
class Classical:
    """Find regions of alike colour, with no weights to download; good on plain scenes, coarse on photographs.

    The picture is over-segmented by the graph method, then the two neighbours with the least contrast are merged until
    `contrast` is reached. The region along most of the border is the background; islands go to what surrounds them.

    Attributes:
        max_regions: most objects, the background not counted; the largest are kept.
        min_area: smallest object, as a share of the picture.
        contrast: difference of mean colour, in CIELAB units with lightness counted less, above which neighbours stay apart.

    Source:
        Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, 2004.
    """

    max_regions: int = 5
    min_area: float = 0.004
    contrast: float = 12.0

    def __post_init__(self) -> None:
        if self.max_regions < 1 or not 0 < self.min_area < 1 or self.contrast <= 0:
            raise ValueError(f"{self} is out of range; max_regions must be at least 1, min_area within (0, 1), contrast above 0")

    def __call__(self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | None = None) -> Int[Tensor, "h w"]:
        """Return a label map, larger objects first; the data's own is not looked at."""
        from skimage.transform import resize

        image = ((pixel_values.detach().float().cpu().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
        height, width = image.shape[:2]
        scale = min(1.0, _WORKING_SIDE / max(height, width))
        side = (max(1, round(height * scale)), max(1, round(width * scale)))
        small = resize(image, side, order=1, anti_aliasing=True) if scale < 1 else image
        labels = self._label(small)
        rows = np.minimum((np.arange(height) + 0.5) * side[0] / height, side[0] - 1).astype(int)
        columns = np.minimum((np.arange(width) + 0.5) * side[1] / width, side[1] - 1).astype(int)
        return torch.from_numpy(labels[rows][:, columns]).to(pixel_values.device)

    def _label(self, image: np.ndarray) -> np.ndarray:
        from skimage.color import rgb2lab
        from skimage.segmentation import felzenszwalb

        colour = rgb2lab(image)
        colour[..., 0] *= _LIGHTNESS_WEIGHT
        least = max(1, round(self.min_area * image.shape[0] * image.shape[1]))
        segments = felzenszwalb(colour / 100, scale=0.3, sigma=0.5, min_size=max(4, least // 4), channel_axis=-1)
        segments = _merge_alike(segments, colour, self.contrast)
        return _number(segments, least, self.max_regions)


def _merge_alike(segments: np.ndarray, colour: np.ndarray, contrast: float) -> np.ndarray:
    """Merge the pair of neighbours whose mean colours differ least, again and again, while they differ less than `contrast`."""
    count = int(segments.max()) + 1
    area = np.bincount(segments.ravel(), minlength=count).astype(float)
    mean = np.stack([np.bincount(segments.ravel(), colour[..., c].ravel(), count) for c in range(3)], 1) / area[:, None]
    adjacent = _adjacency(segments, count) > 0
    owner = np.arange(count)
    difference = np.where(adjacent, np.linalg.norm(mean[:, None] - mean[None], axis=-1), np.inf)
    while True:
        first, second = np.unravel_index(int(difference.argmin()), difference.shape)
        if not difference[first, second] < contrast:
            return owner[segments]
        owner[owner == second] = first
        mean[first] = (area[first] * mean[first] + area[second] * mean[second]) / (area[first] + area[second])
        area[first] += area[second]
        adjacent[first] |= adjacent[second]
        adjacent[:, first] |= adjacent[:, second]
        adjacent[second] = adjacent[:, second] = False
        adjacent[first, first] = False
        difference[second] = difference[:, second] = np.inf
        difference[first] = np.where(adjacent[first], np.linalg.norm(mean - mean[first], axis=1), np.inf)
        difference[:, first] = difference[first]


def _adjacency(segments: np.ndarray, count: int) -> np.ndarray:
    """Count, for each pair of segments, the pixel edges that they share."""
    edges = np.zeros((count, count))
    for one, other in ((segments[:, 1:], segments[:, :-1]), (segments[1:], segments[:-1])):
        np.add.at(edges, (one.ravel(), other.ravel()), 1)
    edges += edges.T
    np.fill_diagonal(edges, 0)
    return edges


def _number(segments: np.ndarray, least: int, max_regions: int) -> np.ndarray:
    """Make the border's main segment label 0 and the other connected pieces 1, 2, ... by area; give islands to their surroundings."""
    from skimage.measure import label

    border = np.concatenate([segments[0], segments[-1], segments[:, 0], segments[:, -1]])
    background = int(np.bincount(border).argmax())
    pieces = label(np.where(segments == background, 0, segments + 1), background=-1, connectivity=1) - 1
    pieces = _absorb_islands(pieces, least)
    is_background = np.bincount(pieces[segments == background].ravel(), minlength=pieces.max() + 1) > 0
    areas = np.bincount(pieces.ravel())
    objects = [piece for piece in np.argsort(-areas, kind="stable") if areas[piece] > 0 and not is_background[piece]]
    numbers = np.zeros(len(areas), dtype=np.int64)
    numbers[objects[:max_regions]] = np.arange(1, len(objects[:max_regions]) + 1)
    return numbers[pieces]


def _absorb_islands(pieces: np.ndarray, least: int) -> np.ndarray:
    """Give each piece of fewer than `least` pixels, smallest first, to the neighbour with which it shares most edges."""
    count = int(pieces.max()) + 1
    area, edges = np.bincount(pieces.ravel(), minlength=count), _adjacency(pieces, count)
    owner = np.arange(count)
    while True:
        small = np.flatnonzero((area > 0) & (area < least) & (edges.sum(1) > 0))
        if not len(small):
            return owner[pieces]
        piece = small[area[small].argmin()]
        neighbour = int(edges[piece].argmax())
        owner[owner == piece] = neighbour
        area[neighbour], area[piece] = area[neighbour] + area[piece], 0
        edges[neighbour] += edges[piece]
        edges[:, neighbour] += edges[:, piece]
        edges[piece] = edges[:, piece] = 0
        edges[neighbour, neighbour] = 0
