"""A folder of classes, as ImageNet is kept, as a dataset: pictures without masks, captioned by their class if its name is known."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, Segmenter
from image_utils import io

_SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


@dataclass(kw_only=True)
class ImagenetFolder(PictureData):
    """ImageNet as it is commonly unpacked, or any folder with one folder a class.

    ```
    root/train/n01440764/n01440764_10026.JPEG        root/val/n01440764/ILSVRC2012_val_00000293.JPEG
    root/cat/1.jpg  root/dog/2.jpg                   (or without splits: `num_held_out` pictures are held out)
    ```

    The class is that of the picture, and which region it belongs to is not known, so there is no label: it becomes the caption, "a photo
    of tench", where `class_names` names it. Pictures are listed, not opened, at the start: a bad one is found when it is read.

    Attributes:
        root: the folder of the data set.
        segmenter: cuts the pictures, which have no masks.
        class_names: a file that names each class in a line, `n01440764 tench, Tinca tinca` (LOC_synset_mapping.txt), of which the first
            name is taken; None captions nothing.

    Source: Deng et al., ImageNet, CVPR 2009; Russakovsky et al., IJCV 2015; image-net.org. The pictures are for non-commercial research and
    education, after registration.
    """

    root: str = "data/imagenet"
    segmenter: Segmenter = field(default_factory=Classical)
    class_names: str | None = None

    def __post_init__(self) -> None:
        self._names = None if self.class_names is None else _read_names(Path(self.class_names))
        super().__post_init__()

    def entries(self) -> list[str]:
        """List the training pictures, class by class."""
        return self._pictures("train" if self._has_splits() else "")

    def validation_entries(self) -> list[str] | None:
        """List the pictures of `val`, if there are splits."""
        return self._pictures("val") if self._has_splits() and (Path(self.root) / "val").is_dir() else None

    def read(self, entry: str) -> Picture:
        """Read a picture; its folder tells the caption."""
        path = Path(self.root) / entry
        caption = "" if self._names is None else f"a photo of {self._names[path.parent.name]}"
        return Picture(io.load_image(path), caption=caption, name=entry)

    def _has_splits(self) -> bool:
        return (Path(self.root) / "train").is_dir()

    def _pictures(self, split: str) -> list[str]:
        """Return the pictures' paths within the root; short strings, for there may be more than a million."""
        top, found = os.path.join(self.root, split), []
        with os.scandir(top) as inside:
            classes = sorted(entry.name for entry in inside if entry.is_dir())
        for name in classes:
            files = sorted(file for file in os.listdir(os.path.join(top, name)) if file.lower().endswith(_SUFFIXES))
            found += [os.path.join(split, name, file) for file in files]
            if files and self._names is not None and name not in self._names:
                raise ValueError(
                    f"dataset.class_names={self.class_names!r} does not name the class {name!r}; add a line '{name} <its name>'"
                )
        if not found:
            raise ValueError(
                f"{top} holds no picture in a folder of its class ({', '.join(_SUFFIXES)}); sort them as <class>/<picture>.JPEG"
            )
        return found


def _read_names(path: Path) -> dict[str, str]:
    """Return the first name of each class by its folder."""
    if not path.is_file():
        raise ValueError(f"dataset.class_names={str(path)!r} does not exist; give a file with a line '<folder> <name>' for each class")
    names = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        folder, _, listed = line.strip().partition(" ")
        name = listed.split(",")[0].strip()
        if folder and not name:
            raise ValueError(f"{path}, line {number}, names nothing: {line!r}; write '<folder> <name>'")
        names[folder] = name
    return names
