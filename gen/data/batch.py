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
        pose: of the regions; flip, angle and yaw are relative to the source view.
        coordinates: (x, y) of the place in the un-augmented picture that each pixel shows, both in [-1, 1].
        rotations: from each object's axes (z up) to its viewer's along the line of sight (x right, y down, z away), so that they tell how
            the object looks wherever it stands; NaN where unknown: the background, mirrored views, data without 3D truth.
    """

    pixel_values: Float[Tensor, "b 3 h w"]
    regions: Regions
    pose: RegionPose
    coordinates: Float[Tensor, "b 2 h w"]
    rotations: Float[Tensor, "b n 3 3"]


@dataclass(frozen=True)
class RegionBatch(TensorFields):
    """A batch of source / target pairs.

    Attributes:
        source: what the region encoder reads.
        target: what the decoder paints.
        context: a picture in the target's geometry that equals the target's outside `changed`; an edit's untouched surroundings.
        changed: True where `context` and the target may differ (an edit's old place, new place and margin).
        seeds: one number a sample; everything random about the sample follows from it.
        rotation_period: degrees of turn about the object's own vertical axis after which it looks the same: 360 no symmetry, 180 or 90 by
            symmetry of shape and texture, 0 every turn looks alike, -1 unknown.
        captions: a sentence a sample, "" where there is none.
        labels: per-region integer targets by name, -1 where unknown.
        control: a conditioning picture in the target's geometry, in [-1, 1]; None where the dataset makes none.
        padding: True where the target shows nothing of the picture, which no loss counts and no region covers; None without padding.
        camera: row-major [R | t] from the source view's camera frame to the target view's (x right, y down, z away), identity for one
            camera and one augmentation, NaN where unknown; None for datasets without cameras.
    """

    source: View
    target: View
    context: Float[Tensor, "b 3 h w"]
    changed: Bool[Tensor, "b h w"]
    seeds: Int[Tensor, " b"]
    rotation_period: Int[Tensor, "b n"]
    captions: tuple[str, ...] = ()
    labels: dict[str, Int[Tensor, "b n"]] = field(default_factory=dict)
    control: Float[Tensor, "b 3 h w"] | None = None
    padding: Bool[Tensor, "b h w"] | None = None
    camera: Float[Tensor, "b 12"] | None = None

    def __getitem__(self, index) -> RegionBatch:
        """Index or slice the batch; an int keeps a batch of one."""
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return replace(super().__getitem__(index), captions=self.captions[index])

    def __len__(self) -> int:
        return self.seeds.shape[0]
