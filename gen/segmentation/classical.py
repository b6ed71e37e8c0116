"""Regions from colour alone: over-segment, merge alike neighbours, call what lies along the border background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_WORKING_SIDE = 128  # pixels; the outlines of objects survive, texture and cost do not
_MID_LIGHTNESS = 66.0  # of L + 16, where the shading-free colours below have CIELAB's scale
_BLACK = 20.0  # CIELAB's offset of 16 and a little more, so that the colour of what is almost black is not noise


@dataclass(frozen=True)
class Classical:
    """Find regions of alike colour, with no weights to download: good on plain scenes, coarse on photographs.

    The picture is over-segmented by the graph method. Then the two neighbours with the least contrast are merged, again and again. Contrast
    is counted in colours that shading leaves alone; lightness counts only between greys. Small pieces merge more readily than large ones.

    Attributes:
        max_regions: most objects, the background not counted; the largest are kept.
        min_area: smallest object, as a share of the picture; smaller ones join what surrounds them.
        contrast: above which neighbours stay apart, in units of CIELAB.

    Source:
        Over-segmentation: Felzenszwalb and Huttenlocher, Efficient Graph-Based Image Segmentation, 2004.
    """

    max_regions: int = 5
    min_area: float = 0.004
    contrast: float = 18.0

    def __post_init__(self) -> None:
        if self.max_regions < 1 or not 0 < self.min_area < 1 or not self.contrast > 0:
            raise ValueError(f"{self} is out of range; max_regions must be at least 1, min_area within (0, 1), contrast above 0")

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"]:
        """Return a label map, larger objects first; the data's own is not looked at."""
        from skimage.transform import resize

        image = ((pixel_values.detach().float().cpu().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).numpy()
        height, width = image.shape[:2]
        scale = min(1.0, _WORKING_SIDE / max(height, width))
        side = (max(1, round(height * scale)), max(1, round(width * scale)))
        labels = self._label(resize(image, side, order=1, anti_aliasing=True) if scale < 1 else image)
        rows = ((np.arange(height) + 0.5) * side[0] / height).astype(int)
        columns = ((np.arange(width) + 0.5) * side[1] / width).astype(int)
        return torch.from_numpy(labels[rows][:, columns]).to(pixel_values.device)

    def _label(self, image: np.ndarray) -> np.ndarray:
        from skimage.segmentation import felzenszwalb

        colour = _shading_free(image)
        least = max(1, round(self.min_area * image.shape[0] * image.shape[1]))
        channels = colour * np.array([1, 1, 0.4]) / 100
        segments = felzenszwalb(channels, scale=0.3, sigma=0.3, min_size=max(4, least // 3), channel_axis=-1)
        segments = _merge_alike(segments, colour, self.contrast)
        border = np.concatenate([segments[0], segments[-1], segments[:, 0], segments[:, -1]])
        is_background = segments == np.bincount(border).argmax()
        return _number_objects(_connected_pieces(segments, is_background, least), is_background, self.max_regions)


def _shading_free(image: np.ndarray) -> np.ndarray:
    """Return (a / L, b / L, L) in CIELAB's scale: more or less light multiplies L, a and b alike, so the first two keep still."""
    from skimage.color import rgb2lab

    lab = rgb2lab(image)
    lightness = (lab[..., :1] + _BLACK) / _MID_LIGHTNESS
    return np.concatenate([lab[..., 1:] / lightness, _MID_LIGHTNESS * lightness], -1)


def _contrast(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return how much a mean colour differs from others; a step in lightness is an edge between greys, and mere shading elsewhere."""
    grey = np.exp(-np.minimum((one[:2] ** 2).sum(), (others[:, :2] ** 2).sum(1)) / 20**2)
    difference = (others - one) * np.stack([np.ones(len(others)), np.ones(len(others)), 0.15 + 0.85 * grey], 1)
    return np.linalg.norm(difference, axis=1)


def _merge_alike(segments: np.ndarray, colour: np.ndarray, limit: float) -> np.ndarray:
    """Merge the two neighbours with the least contrast for their size, again and again, until none has less than `limit`."""
    count = int(segments.max()) + 1
    area = np.bincount(segments.ravel(), minlength=count).astype(float)
    mean = np.stack([np.bincount(segments.ravel(), colour[..., c].ravel(), count) for c in range(3)], 1) / area[:, None]
    adjacent = _shared_edges(segments, count) > 0
    owner = np.arange(count)
    cost = np.full((count, count), np.inf)

    def update(segment: int) -> None:
        share = np.minimum(area, area[segment]) / segments.size
        readiness = np.clip((share / 0.01) ** 0.25, 0.5, 1.5)
        cost[segment] = np.where(adjacent[segment], readiness * _contrast(mean[segment], mean), np.inf)
        cost[:, segment] = cost[segment]

    for segment in range(count):
        update(segment)
    while True:
        kept, gone = np.unravel_index(int(cost.argmin()), cost.shape)
        if not cost[kept, gone] < limit:
            return owner[segments]
        owner[owner == gone] = kept
        mean[kept] = (area[kept] * mean[kept] + area[gone] * mean[gone]) / (area[kept] + area[gone])
        area[kept] += area[gone]
        _merge_rows(adjacent, int(kept), int(gone))
        cost[gone] = cost[:, gone] = np.inf
        update(int(kept))


def _connected_pieces(segments: np.ndarray, is_background: np.ndarray, least: int) -> np.ndarray:
    """Split segments into connected pieces; give each with fewer than `least` pixels, or shut in by one object, to what surrounds it."""
    from skimage.measure import label

    pieces = label(np.where(is_background, 0, segments + 1), background=-1, connectivity=1) - 1
    count = int(pieces.max()) + 1
    area, edges = np.bincount(pieces.ravel(), minlength=count), _shared_edges(pieces, count)
    of_background = np.bincount(pieces[is_background], minlength=count) > 0
    owner = np.arange(count)
    for piece in np.argsort(area, kind="stable"):
        neighbour, around = int(edges[piece].argmax()), edges[piece].sum()
        shut_in = not of_background[piece] and not of_background[neighbour] and edges[piece, neighbour] > 0.6 * around
        if around and (area[piece] < least or shut_in):
            owner[owner == piece] = neighbour
            area[neighbour], area[piece] = area[neighbour] + area[piece], 0
            _merge_rows(edges, neighbour, int(piece))
    return owner[pieces]


def _number_objects(pieces: np.ndarray, is_background: np.ndarray, max_regions: int) -> np.ndarray:
    """Give the largest pieces that are not mostly background the numbers 1, 2, ... by area, and all else 0."""
    areas = np.bincount(pieces.ravel())
    shares = np.bincount(pieces[is_background], minlength=len(areas)) / np.maximum(areas, 1)
    objects = [piece for piece in np.argsort(-areas, kind="stable") if areas[piece] and shares[piece] < 0.5][:max_regions]
    numbers = np.zeros(len(areas), dtype=np.int64)
    numbers[objects] = np.arange(1, len(objects) + 1)
    return numbers[pieces]


def _shared_edges(segments: np.ndarray, count: int) -> np.ndarray:
    """Count, for each pair of segments, the pixel edges that they share."""
    edges = np.zeros((count, count), dtype=np.int64)
    for one, other in ((segments[:, 1:], segments[:, :-1]), (segments[1:], segments[:-1])):
        np.add.at(edges, (one.ravel(), other.ravel()), 1)
    edges += edges.T
    np.fill_diagonal(edges, 0)
    return edges


def _merge_rows(between: np.ndarray, kept: int, gone: int) -> None:
    """Let `kept` take over what `gone` shares with others, in a symmetric table."""
    between[kept] += between[gone]
    between[:, kept] += between[:, gone]
    between[gone] = between[:, gone] = 0
    between[kept, kept] = 0
