"""Picture: one picture of a data set at its own size, and its way into the model's square."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from gen.data.item import Item
from image_utils.convert import to_tensor
from image_utils.geometry import centre_square, fitted_size, pad_to_square, resize_image, resize_label_map

Fit = Literal["crop", "pad"]


@dataclass(frozen=True)
class Picture:
    """One picture at its own size, upright, with what the data know of it.

    Attributes:
        image: RGB.
        label_map: 0 background, any other value the id of an object, which need not be consecutive; or masks that overlap, row 0 the
            background and row k the object with id k. None if the data have no regions.
        caption: "" where there is none.
        labels: name of a target -> id of an object -> its class.
        rotations: id -> from the object's axes to its viewer's, as in `View`.
        rotation_period: id -> as in `RegionBatch`.
        depth: id -> as in `Item`.
        target: the same objects under the same ids, in another frame or seen by another camera; as large as this picture.
        camera: from this picture's camera to the target's, as in `RegionBatch`.
        control: conditioning picture, as large as this picture; of a pair, the target's counts.
        name: for messages and contact sheets.
    """

    image: Image.Image
    label_map: Int[Tensor, "h w"] | Bool[Tensor, "m h w"] | None = None
    caption: str = ""
    labels: dict[str, dict[int, int]] = field(default_factory=dict)
    rotations: dict[int, Float[Tensor, "3 3"]] = field(default_factory=dict)
    rotation_period: dict[int, int] = field(default_factory=dict)
    depth: dict[int, float] = field(default_factory=dict)
    target: Picture | None = None
    camera: Float[Tensor, " 12"] | None = None
    control: Image.Image | None = None
    name: str = ""


@dataclass(frozen=True)
class Frame:
    """How pictures of any size become squares.

    Attributes:
        resolution: side of the squares, in pixels.
        num_regions: n, the background included.
        fit: take the centred square, or the whole picture in the top left corner with its border repeated over the rest.
        label_names: the targets that every item has.
    """

    resolution: int
    num_regions: int
    fit: Fit
    label_names: tuple[str, ...] = ()

    def item(self, picture: Picture, regions: Tensor, target_regions: Tensor | None = None) -> Item:
        """Return the item of a segmented picture and, of a pair, of its target; an object has the same number in both.

        Of more than n - 1 objects the largest in the square are kept, those of the target alone last; the others join the background.

        Args:
            picture: whose own knowledge of objects is told by the ids in `regions`.
            regions: a label map of ids, or masks by id, as in `Picture`; as large as the picture.
            target_regions: the same of the picture's target; None if it has none.
        """
        framed = self._regions(regions)
        after = None if target_regions is None else self._regions(target_regions)
        kept = _largest(framed, after, self.num_regions - 1)
        target = None
        if picture.target is not None and after is not None:
            target = self._built(picture.target, after, kept)
        return self._built(picture, framed, kept, target)

    def _regions(self, regions: Tensor) -> Tensor:
        height, width = regions.shape[-2:]
        if self.fit == "crop":
            return resize_label_map(regions, (self.resolution, self.resolution), centre_square(width, height))
        size = fitted_size(width, height, self.resolution)
        framed = regions.new_zeros(*regions.shape[:-2], self.resolution, self.resolution)
        framed[..., : size[1], : size[0]] = resize_label_map(regions, size)
        return framed

    def _pixels(self, image: Image.Image) -> tuple[Float[Tensor, "3 r r"], Bool[Tensor, "r r"] | None]:
        if self.fit == "crop":
            return to_tensor(resize_image(image, (self.resolution, self.resolution), centre_square(*image.size))), None
        square, padding = pad_to_square(to_tensor(resize_image(image, fitted_size(*image.size, self.resolution))), self.resolution)
        return square, padding if padding.any() else None

    def _built(self, picture: Picture, framed: Tensor, kept: list[int], target: Item | None = None) -> Item:
        pixel_values, padding = self._pixels(picture.image)
        numbered: dict = {"label_map": _numbered(framed, kept)} if framed.ndim == 2 else {"masks": _chosen(framed, kept)}
        return Item(
            pixel_values,
            **numbered,
            caption=picture.caption,
            labels={name: self._by_number(picture.labels.get(name, {}), kept, -1) for name in self.label_names},
            target=target,
            rotations=self._rotations(picture, kept),
            rotation_period=self._by_number(picture.rotation_period, kept, -1),
            depth=self._by_number(picture.depth, kept, torch.nan),
            camera=picture.camera,
            control=None if picture.control is None else self._pixels(picture.control)[0],
            padding=padding,
        )

    def _by_number(self, known: dict, kept: list[int], unknown: float | int) -> Tensor:
        values = [known.get(key, unknown) for key in kept]
        return torch.tensor([unknown, *values, *[unknown] * (self.num_regions - 1 - len(values))])

    def _rotations(self, picture: Picture, kept: list[int]) -> Float[Tensor, "n 3 3"]:
        rotations = torch.full((self.num_regions, 3, 3), torch.nan)
        for number, key in enumerate(kept, start=1):
            if key in picture.rotations:
                rotations[number] = picture.rotations[key]
        return rotations


def _areas(regions: Tensor) -> dict[int, int]:
    """Return the pixels of every object by its id, the lowest id first."""
    if regions.ndim == 3:
        return {key: area for key, area in enumerate(regions.flatten(1).sum(1).tolist()) if key and area}
    ids, areas = regions[regions != 0].unique(return_counts=True)
    return dict(zip(ids.tolist(), areas.tolist(), strict=True))


def _largest(regions: Tensor, after: Tensor | None, most: int) -> list[int]:
    """Return the ids of the objects that are kept, in rising order: ids that all fit keep their numbers' order."""
    areas, new = _areas(regions), {} if after is None else _areas(after)
    by_area = sorted(areas, key=lambda key: -areas[key]) + sorted(new.keys() - areas.keys(), key=lambda key: -new[key])
    return sorted(by_area[:most])


def _numbered(label_map: Int[Tensor, "r r"], kept: list[int]) -> Int[Tensor, "r r"]:
    """Give the kept ids the numbers 1, 2, ... and all other pixels 0."""
    if not kept:
        return torch.zeros_like(label_map, dtype=torch.long)
    ids = torch.tensor(kept)
    number = torch.searchsorted(ids, label_map.contiguous()).clamp(max=len(kept) - 1)
    return torch.where(ids[number] == label_map, number + 1, 0)


def _chosen(masks: Bool[Tensor, "m r r"], kept: list[int]) -> Bool[Tensor, "n r r"]:
    """Return the background, where no kept object is, and the kept masks."""
    objects = masks[kept]
    return torch.cat([~objects.any(0, keepdim=True), objects])
