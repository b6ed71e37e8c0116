"""RegionBatch: what a training step sees: a source view, a target view, and how they correspond."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.regions import RegionPose, Regions, TensorFields


@dataclass(frozen=True)
class View(TensorFields):
    """One picture of a scene and its regions.

    Attributes:
        pixel_values: the picture in [-1, 1].
        regions: region k is the same object in every view of a batch.
        pose: of the regions; flip and angle are relative to the source view.
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    regions: Regions
    pose: RegionPose


@dataclass(frozen=True)
class RegionBatch(TensorFields):
    """A batch of source / target pairs.

    Attributes:
        source: what the region encoder reads.
        target: what the decoder paints.
        context: a picture in the target's geometry that equals the target's outside `changed`; an edit's untouched surroundings.
        changed: True where `context` and the target may differ (an edit's old place, new place and margin).
        seeds: one number a sample; everything random about the sample follows from it.
        captions: a sentence a sample, "" where there is none.
        labels: per-region integer targets by name, -1 where unknown.
    """

    source: View
    target: View
    context: Float[Tensor, "b 3 h w"]
    changed: Bool[Tensor, "b h w"]
    seeds: Int[Tensor, " b"]
    captions: tuple[str, ...] = ()
    labels: dict[str, Int[Tensor, "b n"]] = field(default_factory=dict)

    def __getitem__(self, index) -> RegionBatch:
        """Index or slice the batch; an int keeps a batch of one."""
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return replace(super().__getitem__(index), captions=self.captions[index])

    def __len__(self) -> int:
        return self.seeds.shape[0]
