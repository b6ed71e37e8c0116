"""Regions that were found before: read from the shards that scripts/segment.py wrote."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.segmentation.mask_cache import SETTINGS, MaskIndex
from gen.segmentation.picture_key import picture_key
from gen.segmentation.segmenter import Segmenter

_COMMAND = "python scripts/segment.py --out {root} dataset=... dataset/segmenter=..."
FALLBACK = "+dataset/segmenter@dataset.segmenter.fallback=classical"


@dataclass(frozen=True)
class Cached:
    """Give the same regions as the segmenter that made the cache, pixel for pixel, found by the picture's content.

    Every process that asks holds 24 bytes a picture, and reads a few rows of one shard at a time.

    Attributes:
        root: the folder that scripts/segment.py wrote.
        fallback: segments the pictures that are not in it; None refuses them.
    """

    root: str
    fallback: Segmenter | None = None

    def __post_init__(self) -> None:
        if not (Path(self.root) / SETTINGS).is_file():
            command = _COMMAND.format(root=self.root)
            raise ValueError(f"dataset.segmenter.root={self.root!r} holds no masks; make them with: {command}")

    def __call__(
        self, pixel_values: Float[Tensor, "3 h w"], label_map: Int[Tensor, "h w"] | Bool[Tensor, "n h w"] | None = None
    ) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return the regions on disk; the data's own are looked at by the fallback alone.

        Raises:
            ValueError: if the picture is not in the cache and there is no fallback, or the cache is damaged.
        """
        key, (height, width) = picture_key(pixel_values), pixel_values.shape[1:]
        row = self._index.find(key)
        if row is not None and (row.height, row.width) == (height, width):
            return row.regions().to(pixel_values.device)
        if self.fallback is not None:
            return self.fallback(pixel_values, label_map)
        raise ValueError(
            f"a picture of {width}x{height} pixels (key {key}) is not among the {len(self._index)} of {self.root}; if that pass has not "
            f"ended, run it again; if pictures came or changed since, cut all into a new folder: {_COMMAND.format(root='NEW')}; "
            f"or let a segmenter cut what is missing: {FALLBACK}"
        )

    @cached_property
    def _index(self) -> MaskIndex:
        return MaskIndex(Path(self.root))
