"""Item: one picture of a dataset at the model's size, before augmentation; and items as planes that are transformed together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.regions import Regions


@dataclass(frozen=True)
class Item:
    """One square picture of a dataset, before augmentation.

    Attributes:
        pixel_values: in [-1, 1].
        label_map: 0 background, k the k-th object; None if the segmenter has to find it.
        caption: "" where there is none.
        labels: per-region integer targets by name, -1 where unknown.
        target: the same objects, differently arranged or seen: what the decoder shall paint; None means the same picture.
        rotations: of the objects, as in `View`; NaN or None where unknown.
        rotation_period: as in `RegionBatch`; -1 or None where unknown.
        depth: distance of the objects along the optical axis, in a dataset's own units, about [-1, 1]; NaN or None where unknown.
        camera: row-major [R | t] from this item's camera to its target's, as in `RegionBatch`; None in datasets without cameras.
        control: the conditioning picture, in [-1, 1]; None lets the dataset draw it.
        masks: regions that overlap, row 0 the background; they count instead of a label map.
        padding: True where the square shows nothing of the picture; None without padding.
    """

    pixel_values: Float[Tensor, "3 h w"]
    label_map: Int[Tensor, "h w"] | None = None
    caption: str = ""
    labels: dict[str, Int[Tensor, " n"]] = field(default_factory=dict)
    target: Item | None = None
    rotations: Float[Tensor, "n 3 3"] | None = None
    rotation_period: Int[Tensor, " n"] | None = None
    depth: Float[Tensor, " n"] | None = None
    camera: Float[Tensor, " 12"] | None = None
    control: Float[Tensor, "3 h w"] | None = None
    masks: Bool[Tensor, "m h w"] | None = None
    padding: Bool[Tensor, "h w"] | None = None


def region_planes(items: list[Item], num_regions: int) -> Int[Tensor, "b k h w"]:
    """Stack the items' regions as integer planes that `apply_transforms` moves: one label map each, or n masks where any item has masks.

    Raises:
        ValueError: if masks are more than `num_regions`.
    """
    if all(item.masks is None for item in items):
        maps = [item.label_map for item in items if item.label_map is not None]
        assert len(maps) == len(items), "segment the items first"
        return torch.stack(maps)[:, None]
    return torch.stack([_masks(item, num_regions) for item in items]).long()


def planes_to_regions(planes: Int[Tensor, "b k h w"], num_regions: int, padding: Bool[Tensor, "b h w"] | None) -> Regions:
    """Turn the planes of `region_planes`, transformed, into regions; none covers padding."""
    masks = Regions.from_label_map(planes[:, 0], num_regions).masks if planes.shape[1] == 1 else planes.bool()
    if padding is not None:
        masks = masks & ~padding[:, None]
    return Regions(masks, masks.flatten(2).any(-1))


def padding_planes(items: list[Item]) -> Int[Tensor, "b k h w"]:
    """Stack the items' padding as one integer plane each; k is 0 where no item is padded."""
    square = items[0].pixel_values.shape[-2:]
    if all(item.padding is None for item in items):
        return torch.zeros(len(items), 0, *square, dtype=torch.long)
    none = torch.zeros(square, dtype=torch.bool)
    return torch.stack([none if item.padding is None else item.padding for item in items])[:, None].long()


def _masks(item: Item, num_regions: int) -> Bool[Tensor, "n h w"]:
    if item.masks is None:
        assert item.label_map is not None, "segment the items first"
        return Regions.from_label_map(item.label_map[None], num_regions).masks[0]
    missing = num_regions - len(item.masks)
    if missing < 0:
        raise ValueError(f"{len(item.masks)} masks, the background included, do not fit in num_regions={num_regions}; raise num_regions")
    return torch.cat([item.masks, item.masks.new_zeros(missing, *item.masks.shape[1:])])
