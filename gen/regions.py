"""The nouns: Regions (which pixels), RegionPose (where), RegionLatents (what and where)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Fields = TypeVar("Fields", bound="TensorFields")  # not Self, which beartype refuses on a method


@dataclass(frozen=True)
class TensorFields:
    """Give a frozen dataclass of tensors `.to()` and batch indexing."""

    def to(self: Fields, device: torch.device | str) -> Fields:
        """Move every tensor field to `device`."""
        return self._map(lambda value: value.to(device))

    def __getitem__(self: Fields, index: int | slice | list[int] | Tensor) -> Fields:
        """Index or slice the batch dimension of every field; an int keeps a batch of one."""
        rows = slice(index, index + 1 or None) if isinstance(index, int) else index
        return self._map(lambda value: value[rows])

    def _map(self: Fields, function: Callable[[Tensor], Tensor]) -> Fields:
        changes: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif isinstance(value, TensorFields):
                changes[field.name] = value._map(function)
            elif isinstance(value, dict):
                changes[field.name] = {key: function(item) for key, item in value.items()}
        return replace(self, **changes)


@dataclass(frozen=True)
class Regions(TensorFields):
    """Which pixels belong to which region; masks may overlap, region 0 is the background.

    Attributes:
        masks: True where a pixel belongs to the region.
        valid: False for padding; a valid region has at least one pixel.
    """

    masks: Bool[Tensor, "b n h w"]
    valid: Bool[Tensor, "b n"]

    def __repr__(self) -> str:
        return f"Regions({_listed(self.valid)}, {self.masks.shape[3]}x{self.masks.shape[2]} pixels)"

    @staticmethod
    def from_label_map(label_map: Int[Tensor, "b h w"], num_regions: int) -> Regions:
        """Turn a label map into masks.

        Example:
            >>> label_map = torch.tensor([[[0, 1], [2, 2]]])
            >>> Regions.from_label_map(label_map, num_regions=4).valid
            tensor([[ True,  True,  True, False]])

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
class RegionPose(TensorFields):
    """Where a region is painted, in image units: x to the right, y down, both in [0, 1].

    `flip` and `angle` are relative to how the object looks in the view its tokens were read from,
    so a pose measured from a mask has flip 0 and angle (0, 1). The box turns with the object: `size` is measured along its own axes.

    Attributes:
        centre: (x, y) of the box.
        size: (width, height) of the box.
        flip: 1 if mirrored left to right, else 0.
        angle: (sin, cos) of the in-plane angle, clockwise on the screen, applied after the flip.
        depth: distance along the camera's optical axis, in units of the dataset that make it about [-1, 1]; NaN where unknown, None if
            nowhere known.
        yaw: (sin, cos) of the object's turn about its vertical axis relative to the source view, counter-clockwise seen from above, applied
            before the flip; NaN where unknown, None if nowhere known.
    """

    centre: Float[Tensor, "b n 2"]
    size: Float[Tensor, "b n 2"]
    flip: Float[Tensor, "b n"]
    angle: Float[Tensor, "b n 2"]
    depth: Float[Tensor, "b n"] | None = None
    yaw: Float[Tensor, "b n 2"] | None = None

    @staticmethod
    def from_boxes(boxes: Float[Tensor, "b n 4"]) -> RegionPose:
        """Build the upright, unflipped pose of boxes (left, top, right, bottom) in [0, 1].

        Example:
            >>> pose = RegionPose.from_boxes(torch.tensor([[[0.25, 0.5, 0.75, 1.0]]]))
            >>> pose.centre, pose.size
            (tensor([[[0.5000, 0.7500]]]), tensor([[[0.5000, 0.5000]]]))
        """
        first, last = boxes[..., :2], boxes[..., 2:]
        angle = torch.zeros_like(first)
        angle[..., 1] = 1.0
        return RegionPose((first + last) / 2, last - first, torch.zeros_like(boxes[..., 0]), angle)

    @staticmethod
    def from_regions(regions: Regions, flip: Float[Tensor, " b"] | None = None, angle: Float[Tensor, "b 2"] | None = None) -> RegionPose:
        """Measure the pose of every region from its mask.

        Args:
            regions: of one view.
            flip: 1 for samples that are mirrored relative to the source view.
            angle: (sin, cos) by which samples are turned relative to the source view; the boxes are measured along the turned axes.
        """
        pose = RegionPose.from_boxes(regions.boxes())
        if flip is not None:
            pose = replace(pose, flip=flip[:, None].expand_as(pose.flip).contiguous())
        if angle is not None:
            pose = replace(pose, angle=angle[:, None].expand_as(pose.angle).contiguous())
            for i in torch.nonzero(angle[:, 0] != 0).flatten().tolist():
                centre, size = _turned_boxes(regions.masks[i], angle[i])
                pose.centre[i], pose.size[i] = centre, size
        return pose

    def own_coordinates(self, points: Float[Tensor, "p 2"]) -> Float[Tensor, "b n p 2"]:
        """Express image points in every region's own box, as its source view shows it: (0, 0) is the centre, the box is [-1/2, 1/2]^2.

        Args:
            points: (x, y) in image units.
        """
        offset = points - self.centre[:, :, None]
        sin, cos = self.angle[:, :, None, 0], self.angle[:, :, None, 1]
        along = torch.stack([cos * offset[..., 0] + sin * offset[..., 1], cos * offset[..., 1] - sin * offset[..., 0]], -1)
        along = along / self.size[:, :, None].clamp_min(1e-3)
        mirror = (1 - 2 * self.flip)[:, :, None]
        return torch.stack([along[..., 0] * mirror, along[..., 1]], -1)

    def boxes(self) -> Float[Tensor, "b n 4"]:
        """Return (left, top, right, bottom) of the upright box around the turned one; may reach outside [0, 1]."""
        sin, cos = self.angle[..., 0].abs(), self.angle[..., 1].abs()
        width, height = self.size[..., 0], self.size[..., 1]
        half = torch.stack([cos * width + sin * height, sin * width + cos * height], -1) / 2
        return torch.cat([self.centre - half, self.centre + half], -1)


@dataclass(frozen=True)
class RegionLatents(TensorFields):
    """A picture as a set of editable things: what each region is, and where.

    Example:
        >>> latents
        RegionLatents(1 picture, objects 1 2 3 4, room for 5, 16 tokens of width 128 a region)
        >>> latents.tokens[0, 1].shape, latents.pose.centre[0, 1]
        (torch.Size([16, 128]), tensor([0.7578, 0.7656]))

    Attributes:
        tokens: appearance, free of position; region 0 is the background.
        pose: where each region is painted.
        valid: False for padding and for removed regions.
    """

    tokens: Float[Tensor, "b n q d"]
    pose: RegionPose
    valid: Bool[Tensor, "b n"]

    def __repr__(self) -> str:
        return f"RegionLatents({_listed(self.valid)}, {self.tokens.shape[2]} tokens of width {self.tokens.shape[3]} a region)"


def concatenate(parts: list[RegionLatents]) -> RegionLatents:
    """Join latents along the batch dimension; depth and yaw that only some of them know are unknown (NaN) in the others.

    Raises:
        ValueError: if there are none.
    """
    if not parts:
        raise ValueError("there are no latents to join; give at least one")

    def join(name: str) -> Any:
        values = [getattr(part.pose, name) for part in parts]
        known = next((value for value in values if value is not None), None)
        if known is None:
            return None
        unknown = [known.new_full((len(part.valid), *known.shape[1:]), torch.nan) for part in parts]
        return torch.cat([unknown[i] if value is None else value for i, value in enumerate(values)])

    pose = RegionPose(**{field.name: join(field.name) for field in fields(RegionPose)})
    return RegionLatents(torch.cat([part.tokens for part in parts]), pose, torch.cat([part.valid for part in parts]))


def masks_to_grid(masks: Bool[Tensor, "b n h w"], grid: int) -> Bool[Tensor, "b n g g"]:
    """Reduce masks to the encoder's grid: a cell belongs to a region if any of its pixels does.

    Raises:
        ValueError: if the image's sides are not multiples of `grid`.
    """
    height, width = masks.shape[-2:]
    if height % grid or width % grid:
        raise ValueError(f"masks of {height}x{width} pixels do not divide into a {grid}x{grid} grid; resize them to a multiple of {grid}")
    return masks.unflatten(3, (grid, width // grid)).any(4).unflatten(2, (grid, height // grid)).any(3)


def cell_centres(height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "p 2"]:
    """Return the (x, y) of every pixel or cell centre in image units, row by row."""
    y, x = torch.meshgrid(
        (torch.arange(height, device=device) + 0.5) / height, (torch.arange(width, device=device) + 0.5) / width, indexing="ij"
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def picture_coordinates(height: int, width: int, device: torch.device | str = "cpu") -> Float[Tensor, "2 h w"]:
    """Return the (x, y) of every pixel's centre in [-1, 1]: what a view's coordinates are without augmentation."""
    return cell_centres(height, width, device).mT.unflatten(1, (height, width)) * 2 - 1


def _listed(valid: Bool[Tensor, "b n"]) -> str:
    """Say in words which objects are there, in any picture of the batch."""
    objects = " ".join(str(number) for number in range(1, valid.shape[1]) if valid[:, number].any())
    return f"{len(valid)} picture{'s' * (len(valid) != 1)}, objects {objects or 'none'}, room for {valid.shape[1] - 1}"


def _turned_boxes(masks: Bool[Tensor, "n h w"], angle: Float[Tensor, " 2"]) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    """Return centre and size of each mask's box along axes turned by `angle`; zeros where a mask is empty."""
    height, width = masks.shape[-2:]
    sin, cos = angle
    points = cell_centres(height, width, masks.device)
    along = torch.stack([cos * points[:, 0] + sin * points[:, 1], cos * points[:, 1] - sin * points[:, 0]], -1)
    inside = masks.flatten(1)[..., None]
    low = torch.where(inside, along, torch.inf).amin(1)
    high = torch.where(inside, along, -torch.inf).amax(1)
    middle, found = (low + high) / 2, inside.any(1)
    centre = torch.stack([cos * middle[:, 0] - sin * middle[:, 1], sin * middle[:, 0] + cos * middle[:, 1]], -1)
    return torch.where(found, centre, 0), torch.where(found, high - low + 1 / max(height, width), 0)


def _extent(occupied: Bool[Tensor, "b n s"], length: int) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Return where a run of True begins and ends, in units of the whole length."""
    found = occupied.any(-1)
    first = occupied.int().argmax(-1)
    last = length - occupied.flip(-1).int().argmax(-1)
    return (torch.where(found, first, 0) / length), (torch.where(found, last, 0) / length)
