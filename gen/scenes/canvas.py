"""The canvas: how sub-rays and tiles of a batch of pictures are numbered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

TILE = 4  # pixels; work is handed out in squares of this side


@dataclass(frozen=True)
class Canvas:
    """A batch of square pictures; a flat index over [s * s, batch, pixels] names a sub-ray, one over [batch, pixels] a pixel.

    Attributes:
        batch: pictures.
        num_regions: regions of the ground truth, background included.
        resolution: height and width in pixels, a multiple of `TILE`.
        supersampling: s, for s x s sub-rays a pixel.
        device: where tensors live.
    """

    batch: int
    num_regions: int
    resolution: int
    supersampling: int
    device: torch.device

    @property
    def pixels(self) -> int:
        """Pixels of one picture."""
        return self.resolution * self.resolution

    @property
    def planes(self) -> int:
        """Sub-rays of one pixel."""
        return self.supersampling * self.supersampling

    def array(self, values: np.ndarray) -> Tensor:
        """Move numbers to the device: whole numbers as int64, others as float32."""
        dtype = np.int64 if np.issubdtype(values.dtype, np.integer) else np.float32
        return torch.from_numpy(np.ascontiguousarray(values, dtype=dtype)).to(self.device)

    def ticks(self, per_pixel: int) -> Float[Tensor, " k"]:
        """Return the middles of all columns, -1 to 1 from left to right, with `per_pixel` columns in a pixel."""
        count = self.resolution * per_pixel
        return self.array((2 * np.arange(count) + 1.0) / count - 1)

    def tiles(self, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (box number, tile column, tile row) of every tile that meets a box (left, top, right, bottom) in image units."""
        across = self.resolution // TILE
        first = np.clip(np.floor(boxes[:, :2] * across - 1e-6), 0, across).astype(np.int64)
        last = np.clip(np.ceil(boxes[:, 2:] * across + 1e-6), 0, across).astype(np.int64)
        columns, rows = np.maximum(last - first, 0).T
        counts = columns * rows
        owner = np.repeat(np.arange(len(boxes)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return owner, first[owner, 0] + within % columns[owner], first[owner, 1] + within // columns[owner]

    def corner(self, column: np.ndarray, row: np.ndarray) -> np.ndarray:
        """Return the first pixel of tiles, within their picture."""
        return (row * self.resolution + column) * TILE

    def sub_rays(self) -> tuple[Int[Tensor, " k"], Int[Tensor, " k"], Int[Tensor, " k"]]:
        """Return, for one row of sub-rays of a tile, their column, their pixel's column and their place within the pixel."""
        steps = torch.arange(TILE * self.supersampling, device=self.device)
        return steps, steps // self.supersampling, steps % self.supersampling
