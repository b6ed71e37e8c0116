"""The full ADE20K as a dataset: every object of a scene, walls and sky included, as a region with its class."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from gen.data.formats.annotation_picture import read_colours
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from image_utils import io

_PREFIX = "ADE_"  # of pictures, and of the folders with their objects' whole masks, which are not used


@dataclass(kw_only=True)
class Ade20k(PictureData):
    """ADE20K's full data set as published, `ADE20K_2021_17_01.zip`; not the challenge of 150 classes made from it.

    ```
    root/images/ADE/training/urban/street/ADE_train_00016869.jpg              (scenes in folders of any depth)
    root/images/ADE/training/urban/street/ADE_train_00016869_seg.png          (class R // 10 * 256 + G, number of the object B)
    root/images/ADE/validation/...
    ```

    Everything annotated is a region; parts of objects are not told apart. The label `ade_class` is the class from 0: the place in
    `objectnames` of `index_ade20k.pkl`, which is `name_ndx` - 1 in a picture's json (3,688 names; car is 400).

    Attributes:
        root: the folder of the data set.

    Source: Zhou et al., Semantic Understanding of Scenes through the ADE20K Dataset, IJCV 2019; github.com/CSAILVision/ADE20K. The pictures
    are for non-commercial research and education, after registration.
    """

    root: str = "data/ADE20K_2021_17_01"

    label_names = ("ade_class",)

    def entries(self) -> list[str]:
        """List the training pictures, scene by scene."""
        return self._pictures("training")

    def validation_entries(self) -> list[str]:
        """List the validation pictures."""
        return self._pictures("validation")

    def check(self, entry: str) -> None:
        """Refuse a picture without annotation; the files' headers are read with them."""
        path = self._annotation(entry)
        if not path.is_file():
            raise ValueError(f"{path} does not exist, and its picture does; unpack ADE20K's archive again")

    def read(self, entry: str) -> Picture:
        """Read a picture and its objects."""
        image = io.load_image(Path(self.root) / entry)
        red, green, blue = read_colours(self._annotation(entry), image).unbind(-1)
        classes = red // 10 * 256 + green
        # With the class in the id, objects of two classes stay apart even where a picture has more than 255 objects.
        label_map = torch.where(classes > 0, classes * 256 + blue, 0)
        present = label_map.flatten().bincount().nonzero().flatten().tolist()  # unique() would sort millions of pixels
        labels = {key: key // 256 - 1 for key in present if key}
        return Picture(image, label_map, labels={"ade_class": labels}, name=Path(entry).name)

    def _annotation(self, entry: str) -> Path:
        return Path(self.root) / f"{entry.removesuffix('.jpg')}_seg.png"

    def _pictures(self, split: str) -> list[str]:
        top = Path(self.root) / "images" / "ADE" / split
        found = []
        for folder, folders, files in os.walk(top):
            folders[:] = sorted(name for name in folders if not name.startswith(_PREFIX))
            inside = os.path.relpath(folder, self.root)
            found += [os.path.join(inside, name) for name in sorted(files) if name.startswith(_PREFIX) and name.endswith(".jpg")]
        if not found:
            raise ValueError(
                f"{top} holds no picture ({_PREFIX}*.jpg); dataset.root is the folder ADE20K_2021_17_01, with images/ADE in it"
            )
        return found
