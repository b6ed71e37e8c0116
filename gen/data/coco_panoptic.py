"""COCO's panoptic segmentation as a dataset: things, and stuff if wanted, as regions; captions where they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from gen.data.formats.annotation_picture import read_colours
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from image_utils import io


class Entry(NamedTuple):
    """One picture of a split, without what is not needed: there are 118,287 in `train2017`.

    Attributes:
        split: whose folders hold the files.
        image: name of the picture's file.
        annotation: name of the PNG with its segments.
        segments: [k, 2], for each segment that is a region: its id in the PNG, and its category.
        caption: "" without captions.
    """

    split: str
    image: str
    annotation: str
    segments: np.ndarray
    caption: str


@dataclass(kw_only=True)
class CocoPanoptic(PictureData):
    """COCO 2017 with its panoptic annotations, as published: images, `annotations_trainval2017`, `panoptic_annotations_trainval2017`.

    ```
    root/train2017/000000000009.jpg ...              root/val2017/...
    root/annotations/panoptic_train2017.json         panoptic_val2017.json
    root/annotations/panoptic_train2017/*.png        panoptic_val2017/*.png       (unpacked; a segment's id is R + 256 G + 65536 B)
    root/annotations/captions_train2017.json         captions_val2017.json        (if there: a picture's first caption)
    ```

    Every thing is a region; crowds, and what nobody annotated, are background. The label `coco_category` is the place of the category when
    all are sorted by id: 0-79 are the things (person first), 80-132 the stuff. Other data sets in this format are read as well.

    Attributes:
        root: the folder of the data set.
        stuff: what sky, grass, walls, ... are.
        train_split: to train on.
        validation_split: held out; None holds `num_held_out` pictures of the training split out.

    Source: Lin et al., Microsoft COCO, ECCV 2014; Kirillov et al., Panoptic Segmentation, CVPR 2019; cocodataset.org. Annotations are under
    CC BY 4.0; every picture has its own licence under Flickr's terms of use.
    """

    root: str = "data/coco"
    stuff: Literal["background", "regions"] = "background"
    train_split: str = "train2017"
    validation_split: str | None = "val2017"

    label_names = ("coco_category",)

    def __post_init__(self) -> None:
        if self.stuff not in ("background", "regions"):
            raise ValueError(f"dataset.stuff={self.stuff!r} is unknown; use 'background' or 'regions'")
        if self.train_split == self.validation_split:
            raise ValueError(
                f"dataset.validation_split={self.validation_split!r} is what is trained on; give another, or null to hold "
                "dataset.num_held_out of its pictures out"
            )
        super().__post_init__()

    def entries(self) -> list[Entry]:
        """List the training split by the order of its annotations."""
        return self._entries(self.train_split)

    def validation_entries(self) -> list[Entry] | None:
        """List the validation split."""
        return None if self.validation_split is None else self._entries(self.validation_split)

    def check(self, entry: Entry) -> None:
        """Refuse an entry whose files are not there; their headers are read with them."""
        for path in self._paths(entry):
            if not path.is_file():
                raise ValueError(
                    f"{path}, named in panoptic_{entry.split}.json, does not exist; unpack all of {path.parent.name} into {path.parent}"
                )

    def read(self, entry: Entry) -> Picture:
        """Read a picture and its segments."""
        path, annotation = self._paths(entry)
        image = io.load_image(path)
        codes = (read_colours(annotation, image) * torch.tensor([1, 256, 65536])).sum(-1)
        ids = torch.from_numpy(entry.segments[:, 0])
        label_map = torch.where(torch.isin(codes, ids), codes, 0)
        if len(ids) and not label_map.any():
            raise ValueError(
                f"annotation {annotation} shows no segment that panoptic_{entry.split}.json lists; unpack both from one archive"
            )
        return Picture(
            image,
            label_map,
            caption=entry.caption,
            labels={"coco_category": dict(entry.segments.tolist())},
            name=f"{entry.split}/{entry.image}",
        )

    def _paths(self, entry: Entry) -> tuple[Path, Path]:
        annotation = self.inside("annotations", f"panoptic_{entry.split}", name=entry.annotation)
        return self.inside(entry.split, name=entry.image), annotation

    def _entries(self, split: str) -> list[Entry]:
        folder = Path(self.root) / "annotations"
        path = folder / f"panoptic_{split}.json"
        if not path.is_file():
            raise ValueError(
                f"{path} does not exist; unpack panoptic_annotations_trainval2017.zip in {self.root}, or name a split that is there: "
                "dataset.train_split, dataset.validation_split"
            )
        captions = _first_captions(folder / f"captions_{split}.json")
        with _naming(path):
            found = _parsed(path)
            names = dict(found["images"])
            is_region = {category["id"]: bool(category["isthing"]) or self.stuff == "regions" for category in found["categories"]}
            places = {number: place if is_region[number] else None for place, number in enumerate(sorted(is_region))}
            return [
                Entry(split, names[image_id], annotation, _regions(segments, places), captions.get(image_id, ""))
                for image_id, annotation, segments in found["annotations"]
            ]


def _regions(segments: list[tuple[int, int, int]], places: dict[int, int | None]) -> np.ndarray:
    """Return the id of each segment that is a region, and the place of its category; no crowds."""
    kept = [(number, places[category]) for number, category, is_crowd in segments if places[category] is not None and not is_crowd]
    return np.array(kept, dtype=np.int32).reshape(-1, 2)


def _first_captions(path: Path) -> dict[int, str]:
    """Return each picture's first caption; none where the file is not there."""
    captions: dict[int, str] = {}
    if path.exists():
        with _naming(path):
            for image_id, caption in _parsed(path)["annotations"]:
                captions.setdefault(image_id, caption.strip())
    return captions


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let what goes wrong in reading a file of annotations name the file."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path} is damaged or not in COCO's format ({error!r}); unpack COCO's annotations again") from error


def _parsed(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"), object_hook=_compact)


def _compact(fields: dict[str, Any]) -> Any:
    """Keep the few values of an object that are used, as soon as it is parsed: a file has more than a million of them."""
    if "category_id" in fields:
        return fields["id"], fields["category_id"], fields["iscrowd"]
    if "segments_info" in fields:
        return fields["image_id"], fields["file_name"], fields["segments_info"]
    if "caption" in fields:
        return fields["image_id"], fields["caption"]
    if "file_name" in fields:
        return fields["id"], fields["file_name"]
    return fields
