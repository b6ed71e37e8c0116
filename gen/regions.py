"""The nouns: Regions (which pixels), RegionPose (where), RegionLatents (what and where)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class _TensorFields:
    """Give a frozen dataclass of tensors `.to()`, batch indexing and concatenation."""

    def to(self, device: torch.device | str):
        """Move every tensor field to `device`."""
        return self._map(lambda value: value.to(device))

    def __getitem__(self, index):
        """Index or slice the batch dimension of every field; an int keeps a batch of one."""
        index = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self._map(lambda value: value[index])

    def _map(self, function):
        changes = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif isinstance(value, _TensorFields):
                changes[field.name] = value._map(function)
        return replace(self, **changes)


@dataclass(frozen=True)
class Regions(_TensorFields):
    """Which pixels belong to which region; masks may overlap, region 0 is the background.

    Attributes:
        masks: True where a pixel belongs to the region.
        valid: False for padding; a valid region has at least one pixel.
    """

    masks: Bool[Tensor, "b n h w"]
    valid: Bool[Tensor, "b n"]

    @staticmethod
    def from_label_map(label_map: Int[Tensor, "b h w"], num_regions: int) -> Regions:
        """Turn a label map into masks.

        Args:
            label_map: 0 is the background, k the k-th object; labels need not all occur.
            num_regions: n, background included; a region without pixels is not valid.

        Raises:
            ValueError: if a label does not fit in `num_regions`.
        """
        largest, smallest = int(label_map.max()), int(label_map.min())
        if largest >= num_regions or smallest < 0:
            bad = largest if largest >= num_regions else smallest
            raise ValueError(f"label {bad} does not fit in num_regions={num_regions} (labels 0..{num_regions - 1}); raise num_regions")
        labels = torch.arange(num_regions, device=label_map.device)
        masks = label_map[:, None] == labels[None, :, None, None]
        return Regions(masks, masks.flatten(2).any(-1))

    def label_map(self) -> Int[Tensor, "b h w"]:
        """Flatten to one label a pixel; where masks overlap the higher number wins, 0 where none is."""
        labels = torch.arange(self.masks.shape[1], device=self.masks.device)
        return (self.masks * labels[None, :, None, None]).amax(1)

    def areas(self) -> Float[Tensor, "b n"]:
        """Return each region's share of the image, in [0, 1]."""
        return self.masks.float().mean((2, 3))

    def boxes(self) -> Float[Tensor, "b n 4"]:
        """Return (left, top, right, bottom) in image units [0, 1]; zeros where a region has no pixels."""
        height, width = self.masks.shape[-2:]
        left, right = _extent(self.masks.any(2), width)
        top, bottom = _extent(self.masks.any(3), height)
        return torch.stack([left, top, right, bottom], -1)

    def keep(self, kept: Bool[Tensor, "b n"]) -> Regions:
        """Mark the regions that are not `kept` as absent and clear their masks."""
        return Regions(self.masks & kept[..., None, None], self.valid & kept)


@dataclass(frozen=True)
class RegionPose(_TensorFields):
    """Where a region is painted, in image units: x to the right, y down, both in [0, 1].

    `flip` and `angle` are relative to how the object looks in the view its tokens were read from,
    so a pose measured from a mask has flip 0 and angle (0, 1).

    Attributes:
        centre: (x, y) of the box.
        size: (width, height) of the box.
        flip: 1 if mirrored left to right, else 0.
        angle: (sin, cos) of the in-plane angle, clockwise on the screen, applied after the flip.
        depth: distance from the camera in world units, where known.
        yaw: (sin, cos) of the turn about the vertical axis relative to the source view, where known.
    """

    centre: Float[Tensor, "b n 2"]
    size: Float[Tensor, "b n 2"]
    flip: Float[Tensor, "b n"]
    angle: Float[Tensor, "b n 2"]
    depth: Float[Tensor, "b n"] | None = None
    yaw: Float[Tensor, "b n 2"] | None = None

    @staticmethod
    def from_boxes(boxes: Float[Tensor, "b n 4"]) -> RegionPose:
        """Build the upright, unflipped pose of boxes (left, top, right, bottom) in [0, 1]."""
        first, last = boxes[..., :2], boxes[..., 2:]
        angle = torch.zeros_like(first)
        angle[..., 1] = 1.0
        return RegionPose((first + last) / 2, last - first, torch.zeros_like(boxes[..., 0]), angle)

    @staticmethod
    def from_regions(regions: Regions) -> RegionPose:
        """Measure the pose of every region from its mask."""
        return RegionPose.from_boxes(regions.boxes())

    def boxes(self) -> Float[Tensor, "b n 4"]:
        """Return (left, top, right, bottom) of the upright box; may reach outside [0, 1]."""
        return torch.cat([self.centre - self.size / 2, self.centre + self.size / 2], -1)


@dataclass(frozen=True)
class RegionLatents(_TensorFields):
    """A picture as a set of editable things: what each region is, and where.

    Attributes:
        tokens: appearance, free of position; region 0 is the background.
        pose: where each region is painted.
        valid: False for padding and for removed regions.
    """

    tokens: Float[Tensor, "b n q d"]
    pose: RegionPose
    valid: Bool[Tensor, "b n"]


def masks_to_grid(masks: Bool[Tensor, "b n h w"], grid: int) -> Bool[Tensor, "b n g g"]:
    """Reduce masks to the encoder's grid: a cell belongs to a region if any of its pixels does.

    Raises:
        ValueError: if the image's sides are not multiples of `grid`.
    """
    height, width = masks.shape[-2:]
    if height % grid or width % grid:
        raise ValueError(f"masks of {height}x{width} pixels do not divide into a {grid}x{grid} grid; resize them to a multiple of {grid}")
    return masks.unflatten(3, (grid, width // grid)).any(4).unflatten(2, (grid, height // grid)).any(3)


def _extent(occupied: Bool[Tensor, "b n s"], length: int) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Return where a run of True begins and ends, in units of the whole length."""
    found = occupied.any(-1)
    first = occupied.int().argmax(-1)
    last = length - occupied.flip(-1).int().argmax(-1)
    return (torch.where(found, first, 0) / length), (torch.where(found, last, 0) / length)
