"""Superpixels: compact patches of alike colour that cover the whole picture."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LEAST_SIZE = 0.25  # of the size that an element has on average; smaller ones join a neighbour


@dataclass(frozen=True)
class Superpixels:
    """Cut a picture into elements 1 to k with SLIC; there is no background, every pixel belongs to an element.

    Elements have nothing to do with objects, and those of two pictures of one scene do not correspond: train on single pictures.

    Attributes:
        num_segments: most elements, k <= num_segments; the dataset needs num_regions = num_segments + 1.
        compactness: how much nearness counts against colour, in units of CIELAB; larger elements are squarer.
        random_partition: draw the number of elements (half of `num_segments` at least) and the compactness (half to twice) anew for every
            picture, from its own content, so that no size of elements is special and the same picture always gives the same regions.

    Source:
        SLIC: Achanta et al., SLIC Superpixels, TPAMI 2012. Elements of random partitions: Mu et al., Editable Image Elements, 2024,
        arXiv 2404.16029.
    """

    num_segments: int = 16
    compactness: float = 10.0
    random_partition: bool = True

    def __post_init__(self) -> None:
        if self.num_segments < 1 or not self.compactness > 0:
            raise ValueError(f"{self} is out of range; num_segments must be at least 1, compactness above 0")

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"]:
        """Return a label map without a 0; the data's own is not looked at."""
        image = ((pixel_values.detach().float().cpu().clamp(-1, 1) + 1) / 2).permute(1, 2, 0).contiguous().numpy()
        wanted, compactness = self._partition(image)
        labels = _slic(image, wanted, compactness)
        while (
            labels.max() > self.num_segments
        ):  # SLIC starts from a grid and joins or splits pieces: it may return more than it was asked for
            wanted = min(wanted - 1, wanted * self.num_segments // int(labels.max()))
            labels = _slic(image, wanted, compactness)
        return torch.from_numpy(labels).to(pixel_values.device)

    def _partition(self, image: np.ndarray) -> tuple[int, float]:
        if not self.random_partition:
            return self.num_segments, self.compactness
        rng = random.Random(zlib.crc32((image * 255).round().astype(np.uint8).tobytes()))
        return rng.randint(max(1, self.num_segments // 2), self.num_segments), self.compactness * 2 ** rng.uniform(-1, 1)


def _slic(image: np.ndarray, wanted: int, compactness: float) -> np.ndarray:
    from skimage.segmentation import slic

    if wanted <= 1:
        return np.ones(image.shape[:2], dtype=np.int64)
    return slic(image, wanted, compactness, min_size_factor=_LEAST_SIZE, start_label=1, channel_axis=-1).astype(np.int64)
