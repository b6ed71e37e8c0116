"""The protocol that everything which finds regions obeys."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Segmenter(Protocol):
    """Cut one picture into regions; the same picture always gives the same regions, in the picture's own geometry."""

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return which region each pixel belongs to.

        Args:
            pixel_values: the picture in [-1, 1].
            label_map: the regions that came with the data, in either form below, or None.

        Returns:
            A label map, 0 for the background, k = 1, 2, ... for the k-th object; or, from a segmenter that is asked for masks that overlap,
            masks whose row 0 is the background: where no object is.
        """
        ...
