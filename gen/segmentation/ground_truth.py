"""The regions that come with the data."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.segmenter import Segmenter


@dataclass(frozen=True)
class GroundTruth:
    """Hand the data's own label map on.

    Attributes:
        fallback: segments the pictures that came without one; None refuses them.
    """

    fallback: Segmenter | None = None

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return `label_map`, or the fallback's where the data has none.

        Raises:
            ValueError: if there is neither a label map nor a fallback.
        """
        if label_map is not None:
            return label_map
        if self.fallback is None:
            raise ValueError("a picture came without a label map; put masks beside the pictures, or choose another segmenter: Classical()")
        return self.fallback(pixel_values)
