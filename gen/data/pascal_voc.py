"""Pascal VOC's segmented pictures as a dataset: one region an object, with its class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int
from torch import Tensor

from gen.data.formats.annotation_picture import read_labels
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from image_utils import io

_NUM_CLASSES = 20
_VOID = 255  # the outlines, and what is too hard to tell


@dataclass(kw_only=True)
class PascalVoc(PictureData):
    """Pascal VOC 2012 (or another year) as published: `VOCtrainval_11-May-2012.tar`.

    ```
    root/JPEGImages/2007_000032.jpg ...
    root/SegmentationObject/2007_000032.png          (palette index: number of the object, 0 background, 255 void)
    root/SegmentationClass/2007_000032.png           (palette index: class 1..20)
    root/ImageSets/Segmentation/train.txt            val.txt  trainval.txt        (a name without ending a line)
    ```

    Void is background. An object's class is the one that most of its pixels have. The label `voc_class` is 0-19: aeroplane, bicycle, bird,
    boat, bottle, bus, car, cat, chair, cow, diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa, train, tvmonitor.

    Attributes:
        root: the folder of one year.
        train_split: to train on.
        validation_split: held out; None holds `num_held_out` pictures of the training split out.

    Source: Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 2015; host.robots.ox.ac.uk/pascal/VOC. The pictures are
    from Flickr, for use under its terms.
    """

    root: str = "data/VOCdevkit/VOC2012"
    train_split: str = "train"
    validation_split: str | None = "val"

    label_names = ("voc_class",)

    def entries(self) -> list[str]:
        """List the names of the training split, in its order."""
        return self._names(self.train_split)

    def validation_entries(self) -> list[str] | None:
        """List the names of the validation split.

        Raises:
            ValueError: if some of them are trained on.
        """
        if self.validation_split is None:
            return None
        names = self._names(self.validation_split)
        shared = len(set(names) & set(self.entries()))
        if shared:
            raise ValueError(
                f"dataset.train_split={self.train_split!r} and dataset.validation_split={self.validation_split!r} share {shared} pictures; "
                "give splits that share none, or dataset.validation_split=null"
            )
        return names

    def check(self, entry: str) -> None:
        """Refuse an entry whose files are not there; their headers are read with them."""
        for path in self._paths(entry):
            if not path.is_file():
                raise ValueError(f"{path}, of a picture in ImageSets/Segmentation, does not exist; unpack VOC's archive again")

    def read(self, entry: str) -> Picture:
        """Read a picture, its objects and their classes."""
        path, object_path, class_path = self._paths(entry)
        image = io.load_image(path)
        objects, classes = read_labels(object_path, image), read_labels(class_path, image)
        strange = classes[(classes > _NUM_CLASSES) & (classes != _VOID)]
        if len(strange):
            raise ValueError(f"{class_path} has class {int(strange[0])}, and VOC has 1..{_NUM_CLASSES}; unpack VOC's archive again")
        objects[objects == _VOID] = 0
        return Picture(image, objects, labels={"voc_class": _majority(objects, classes)}, name=entry)

    def _paths(self, entry: str) -> tuple[Path, Path, Path]:
        return (
            self.inside("JPEGImages", name=f"{entry}.jpg"),
            self.inside("SegmentationObject", name=f"{entry}.png"),
            self.inside("SegmentationClass", name=f"{entry}.png"),
        )

    def _names(self, split: str) -> list[str]:
        path = Path(self.root) / "ImageSets" / "Segmentation" / f"{split}.txt"
        if not path.is_file():
            raise ValueError(f"{path} does not exist; dataset.root is the folder of one year, with JPEGImages and ImageSets in it")
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        return list(dict.fromkeys(line.strip() for line in lines if line.strip()))  # a name that is there twice could be held out once


def _majority(objects: Int[Tensor, "h w"], classes: Int[Tensor, "h w"]) -> dict[int, int]:
    """Return the class, from 0, that most pixels of each object have; an object without any has none."""
    told = (objects > 0) & (classes > 0) & (classes != _VOID)
    return {key: int(classes[told & (objects == key)].bincount().argmax()) - 1 for key in objects[told].unique().tolist()}
