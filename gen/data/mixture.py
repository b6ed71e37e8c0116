"""Several data sets as one, each drawn as often as its weight says."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import Any

import torch

from gen.data.item import Item
from gen.data.region_data import RegionData, sample_seed
from gen.segmentation import Segmenter

# What a mixture gives its parts; which segmenter fits is a matter of each.
SHARED = tuple(one.name for one in fields(RegionData) if one.name != "segmenter")


class PartError(ValueError):
    """What is wrong with a part; `key` is the part's place in the configuration."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


@dataclass(kw_only=True)
class Mixture(RegionData):
    """A stream in which every part has its share of the samples, as evenly spread as whole samples allow.

    Which part a position of the stream belongs to follows from the weights alone: after p samples a part was drawn p times its share,
    give or take fewer samples than there are parts. Each part is passed through whole, in an order of its own, before it begins again,
    however long the others are. A batch mixes parts.

    Items have the labels of all parts, -1 where a part does not know them. A name that parts of different kinds share would tell
    different things, so there it becomes `<part>_<name>`.

    Attributes:
        parts: name -> what makes the data set when it is given the fields of `RegionData`, which are the mixture's for all parts.
        weights: name -> how often the part is drawn, relative to the others; 1 where it is not named; None for all alike.
        segmenter: for all parts; None leaves each part its own.
    """

    parts: dict[str, Callable[..., Any]]
    weights: Mapping[str, float] | None = None  # a dict in the config could not be replaced from the command line
    segmenter: Segmenter | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts:
            raise ValueError(
                "dataset.parts is empty; name data sets: +dataset/part@dataset.parts.photos=image_folder dataset.parts.photos.root=..."
            )
        given = self.weights or {}
        for name, weight in given.items():
            if name not in self.parts:
                raise ValueError(f"dataset.weights.{name}={weight} weighs no part; dataset.parts has {', '.join(self.parts)}")
            if not (math.isfinite(weight) and weight > 0):
                raise ValueError(f"dataset.weights.{name}={weight} is no weight above 0; leave the part out instead")
        self._data = [self._made(name, part) for name, part in self.parts.items()]
        self._first = list(accumulate((len(data) for data in self._data), initial=0))  # number of each part's first item, and of all
        self._label_names = self._named_labels()
        weights = [Fraction(str(given.get(name, 1))) for name in self.parts]
        self._shares = [weight / sum(weights[i:]) for i, weight in enumerate(weights)]  # each of what the parts before it leave

    def __len__(self) -> int:
        return self._first[-1]

    def order(self, seed: int) -> Callable[[int], int]:
        """Return the item's number at every position: its part by the shares, and the part's own order."""
        if self.overfit_items:
            return super().order(seed)
        return partial(self._number_at, [data.order(sample_seed(seed, i)) for i, data in enumerate(self._data)])

    def items(self, indices: list[int]) -> list[Item]:
        """Return the items with these numbers: part after part; or, to overfit on the first few, in turn by the shares."""
        places = [self._place(index) for index in indices]
        return self._gathered(places, lambda data, numbers: data.items(numbers))

    def validation_items(self, count: int) -> list[Item]:
        """Return held-out items of all parts, by the shares; fewer than `count` where a part holds out fewer."""
        places = [self._turn(position) for position in range(count)]
        return self._gathered(places, lambda data, numbers: data.validation_items(len(numbers)))

    def _made(self, name: str, part: Callable[..., Any]) -> RegionData:
        """Build a part; what is wrong with its own fields is told under its name."""
        shared: dict[str, Any] = {key: getattr(self, key) for key in SHARED}
        shared |= {"validation_image": [], "validation_prompt": None}  # these pictures are the mixture's own
        if self.segmenter is not None:
            shared["segmenter"] = self.segmenter
        try:
            return part(**shared)
        except ValueError as error:
            own, key = rf"\bdataset\.(?!(?:{'|'.join(SHARED)})\b)", f"dataset.parts.{name}"
            message = re.sub(own, f"{key}.", str(error))
            raise PartError(message if key in message else f"{key}: {message}", key) from error

    def _named_labels(self) -> list[dict[str, str]]:
        """Return what each part's labels are called here."""
        kinds: dict[str, set[type]] = {}
        for data in self._data:
            for name in data.label_names:
                kinds.setdefault(name, set()).add(type(data))
        return [
            {name: name if len(kinds[name]) == 1 else f"{part}_{name}" for name in data.label_names}
            for part, data in zip(self.parts, self._data, strict=True)
        ]

    def _turn(self, position: int) -> tuple[int, int]:
        """Return the part that a position belongs to, and how many positions before it do."""
        for number, share in enumerate(self._shares):
            before = math.floor(position * share)
            if math.floor((position + 1) * share) > before:
                return number, before
            position -= before
        raise AssertionError("the last part takes what the others leave")

    def _number_at(self, orders: list[Callable[[int], int]], position: int) -> int:
        part, visit = self._turn(position)
        return self._first[part] + orders[part](visit)

    def _place(self, index: int) -> tuple[int, int]:
        """Return the part of an item's number and the item's number in it."""
        if self.overfit_items:
            part, visit = self._turn(index)
            return part, visit % len(self._data[part])
        part = bisect_right(self._first, index) - 1
        return part, index - self._first[part]

    def _gathered(self, places: list[tuple[int, int]], read: Callable[[RegionData, list[int]], list[Item]]) -> list[Item]:
        """Read every part's items at once, and return them in the order of their places, those that a part lacks left out."""
        found: list[Iterator[Item]] = []
        for part, data in enumerate(self._data):
            numbers = [number for owner, number in places if owner == part]
            found.append(iter([self._completed(part, item) for item in read(data, numbers)] if numbers else []))
        return [item for part, _ in places for item in [next(found[part], None)] if item is not None]

    def _completed(self, part: int, item: Item) -> Item:
        """Cut an item as its part does, and give it the labels of all parts."""
        data, names = self._data[part], self._label_names[part]
        cut = data._segmented(item)
        known = {names.get(name, name): values for name, values in cut.labels.items()}
        unknown = {name: torch.full((self.num_regions,), -1) for one in self._label_names for name in one.values() if name not in known}
        return replace(cut, labels=known | unknown, target=None if item.target is None else data._segmented(item.target))

    def _segmented(self, item: Item) -> Item:
        return item
