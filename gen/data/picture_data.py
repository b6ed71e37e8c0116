"""PictureData: the base of data sets of real pictures of any size: which there are, which are held out, how they are cut and framed."""

from __future__ import annotations

import heapq
import logging
import os
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from gen.data.item import Item
from gen.data.picture import Fit, Frame, Picture
from gen.data.region_data import RegionData, sample_seed
from gen.segmentation import GroundTruth
from image_utils.convert import to_tensor

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class PictureData(RegionData):
    """Base of data sets of pictures: a subclass says which entries there are and reads one.

    A picture is cut into regions at its own size, by the data's own masks or by the segmenter, and then brought to the model's square.

    Attributes:
        root: the folder of the data set.
        fit: train on the centred square of every picture (crop), or on the whole picture, padded to a square; no loss counts padding.
        num_held_out: pictures kept for validation, drawn once; 0 validates on the training pictures. Data sets with a validation split of
            their own take that instead.
        on_bad_file: raise at the first bad file, or skip bad files and log each. A file whose header is sound and whose pixels
            are not is found when it is first read; skipping then takes the next picture in its place.
        keep_in_memory: pictures, segmented and framed, that every process keeps: for a slow segmenter on few pictures.
    """

    root: str
    fit: Fit = "crop"
    num_held_out: int = 8
    on_bad_file: Literal["raise", "skip"] = "raise"
    keep_in_memory: int = 0

    _kept: OrderedDict[Any, Item] = field(default_factory=OrderedDict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_bad_file not in ("raise", "skip"):
            raise ValueError(f"dataset.on_bad_file={self.on_bad_file!r} is unknown; use 'raise' or 'skip'")
        if self.fit not in ("crop", "pad"):
            raise ValueError(f"dataset.fit={self.fit!r} is unknown; use 'crop' or 'pad'")
        if self.keep_in_memory < 0:
            raise ValueError(f"dataset.keep_in_memory={self.keep_in_memory} is negative; 0 keeps nothing")
        self.check_root()
        self._all = self.entries()
        own_split = self.validation_entries()
        usable = self._usable(self._all)
        if own_split is not None:
            self._training, self._held_out = usable, self._usable(own_split)
            self._all = [*self._all, *own_split]
            return
        if not 0 <= self.num_held_out < len(usable):
            raise ValueError(
                f"dataset.num_held_out={self.num_held_out} leaves no picture to train on: {self.root} holds {len(usable)} usable "
                "pictures; give more pictures or a smaller number (0 validates on the training pictures)"
            )
        held_out = drawn_to_hold_out(self.num_held_out, len(usable))
        self._training = _without(usable, held_out)
        self._held_out = [usable[index] for index in sorted(held_out)] or self._training

    def check_root(self) -> None:
        """Look at the root before anything is read.

        Raises:
            ValueError: if it cannot be the root of such a data set.
        """
        if not Path(self.root).is_dir():
            raise ValueError(f"dataset.root={self.root!r} is not a folder; give the folder of the data set")

    def entries(self) -> Sequence[Any]:
        """Return what tells each picture of the data set apart, in a fixed order; no pixel is read.

        A list, or of many millions a range of numbers, which takes no memory.

        Raises:
            ValueError: if the folder is not laid out as the data set is, naming what is missing.
        """
        raise NotImplementedError

    def validation_entries(self) -> Sequence[Any] | None:
        """Return the same of the data set's own validation split; None where it has none."""
        return None

    def check(self, entry: Any) -> None:
        """Look at an entry's headers, where that is quick enough to be done for all at the start.

        Raises:
            ValueError: if it cannot be used.
        """

    def inside(self, *folders: str, name: Any) -> Path:
        """Return the path in folders of the root of a file whose name the data tell.

        Raises:
            ValueError: if the name is no text, or leads out of those folders.
        """
        if not isinstance(name, str) or os.path.isabs(name) or ".." in Path(name).parts:
            raise ValueError(f"dataset.root={self.root!r}: its files name {name!r}, which is no path inside it; take an unchanged data set")
        return Path(self.root, *folders, name)

    def read(self, entry: Any) -> Picture:
        """Read an entry's picture and all that the data know of it.

        Raises:
            ValueError: if a file is damaged, naming it.
        """
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._training)

    def items(self, indices: list[int]) -> list[Item]:
        """Read, cut and frame the training pictures with these numbers."""
        return [self._item(self._training, index) for index in indices]

    def validation_items(self, count: int) -> list[Item]:
        """Read, cut and frame the first `count` held-out pictures, or all of them where there are fewer."""
        return [self._item(self._held_out, index) for index in range(min(count, len(self._held_out)))]

    def pictures(self) -> Pictures:
        """Return all pictures of the data set, bad files included: reading one of those raises ValueError."""
        return Pictures(self)

    def _item(self, entries: Sequence[Any], index: int) -> Item:
        key = (entries is self._held_out, index)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        item = self._framed(self._read_or_next(entries, index))
        if self.keep_in_memory:
            self._kept[key] = item
            if len(self._kept) > self.keep_in_memory:
                self._kept.popitem(last=False)
        return item

    def _framed(self, picture: Picture) -> Item:
        """Cut a picture, and its target if it has one, and bring them to the square."""
        regions, own = self._cut(picture)
        known = picture if own else _unknown(picture)
        frame = Frame(self.resolution, self.num_regions, self.fit, self.label_names)
        if picture.target is None:
            return frame.item(known, regions)
        target_regions, target_own = self._cut(picture.target)
        if not (own and target_own):
            raise ValueError(
                f"dataset.segmenter={type(self.segmenter).__name__} cuts the two pictures of a pair independently, so region k would "
                "not be the same object in both; use dataset/segmenter=ground_truth, or single pictures: dataset.pair_probability=0"
            )
        return frame.item(known, regions, target_regions)

    def _cut(self, picture: Picture) -> tuple[Tensor, bool]:
        """Return a picture's regions at its own size, and whether they are the data's own."""
        if isinstance(self.segmenter, GroundTruth) and picture.label_map is not None:
            regions = picture.label_map  # without the pixels as floats, which of a large picture take long
        else:
            try:
                regions = self.segmenter(to_tensor(picture.image), picture.label_map)
            except ValueError as error:
                raise ValueError(f"{picture.name}: {error}") from error
        height, width = regions.shape[-2:]
        if (width, height) != picture.image.size:
            own_size = f"{picture.image.width}x{picture.image.height}"
            raise ValueError(f"{picture.name} is {own_size} pixels but its regions are {width}x{height}; make them one size")
        own = regions is picture.label_map or (picture.label_map is not None and torch.equal(regions, picture.label_map))
        return regions, own

    def _segmented(self, item: Item) -> Item:
        return item

    def _usable(self, entries: Sequence[Any]) -> Sequence[Any]:
        usable = entries if type(self).check is PictureData.check else self._sound(entries)
        if not usable:
            raise ValueError(f"dataset.root={self.root!r} holds no usable picture")
        return usable

    def _sound(self, entries: Sequence[Any]) -> list[Any]:
        """Return the entries that pass the look at their headers; raise or log what does not."""
        sound = []
        for entry in entries:
            try:
                self.check(entry)
            except (ValueError, OSError) as error:
                if self.on_bad_file == "raise":
                    raise ValueError(f"{error}; or leave bad files out with dataset.on_bad_file=skip") from error
                logger.warning("skipped: %s", error)
            else:
                sound.append(entry)
        if len(sound) < len(entries):
            logger.warning("%s: %d of %d pictures skipped", self.root, len(entries) - len(sound), len(entries))
        return sound

    def _read_or_next(self, entries: Sequence[Any], index: int) -> Picture:
        """Read a picture; where it is damaged and may be skipped, the next sound one of the list."""
        for offset in range(len(entries)):
            try:
                return self.read(entries[(index + offset) % len(entries)])
            except (ValueError, OSError) as error:
                if self.on_bad_file == "raise":
                    raise ValueError(f"{error}; or leave bad files out with dataset.on_bad_file=skip") from error
                logger.warning("skipped, the next picture takes its place: %s", error)
        raise ValueError(f"none of the {len(entries)} pictures in {self.root} can be read; the warnings above name each")


class Pictures:
    """A data set's pictures by number, each read when it is asked for."""

    def __init__(self, data: PictureData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data._all)

    def __getitem__(self, index: int) -> Picture:
        return self.data.read(self.data._all[index])


def _without(entries: Sequence[Any], left_out: list[int]) -> Sequence[Any]:
    """Return the entries but those with these numbers; of a range as an array, which takes a quarter of a list's memory."""
    if isinstance(entries, range):
        return array("q", np.delete(np.arange(entries.start, entries.stop), left_out).tobytes())
    numbers = set(left_out)
    return [entry for number, entry in enumerate(entries) if number not in numbers]


def drawn_to_hold_out(count: int, of: int) -> list[int]:
    """Draw what is held out: it follows from the number of pictures, or clips, alone, so that it is the same in every run."""
    return heapq.nsmallest(count, range(of), key=lambda index: sample_seed(0, index))


def _unknown(picture: Picture) -> Picture:
    """Return a picture whose regions are not the data's own, so that nothing is known of them."""
    return replace(picture, label_map=None, labels={}, rotations={}, rotation_period={}, depth={})
