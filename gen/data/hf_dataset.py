"""A data set of the Hugging Face datasets library as a dataset: pictures, masks and captions by column."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gen.data.formats.encoded import encoded_picture
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, GroundTruth, Segmenter
from image_utils.io import MAX_BYTES

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(kw_only=True)
class HfDataset(PictureData):
    """Rows of a data set that the `datasets` library reads, in any order, from files that stay on disk.

    `root` is a folder written by `save_to_disk`; or a folder of Parquet or of Arrow files, or of pictures with a `metadata.jsonl` or
    `metadata.csv` (`file_name`, `mask_file_name`, `caption`), whose files or folders are named after the splits (`train-*.parquet`,
    `train/`); or a name on the hub, `owner/name`, where there is a network. Of the last three the library keeps a copy in its own cache
    (`HF_HOME`). Only what holds pictures is read of them: no data set brings code, and nothing is unpickled.

    Attributes:
        root: the folder, or the name on the hub.
        image_column: the pictures: an image feature, or bytes of picture files.
        mask_column: their regions: label maps (0 is the background), or lists of one mask an object, which may overlap; both as image
            features without loss, PNG or TIFF. None leaves regions to the segmenter.
        caption_column: their captions, of several the first; None has none.
        split: to train on; a folder with a single split is taken whatever its name.
        validation_split: None holds `num_held_out` rows of `split` out instead.
        segmenter: by default the masks of the data set, and colour regions where there are none.
    """

    root: str
    image_column: str = "image"
    mask_column: str | None = None
    caption_column: str | None = None
    split: str = "train"
    validation_split: str | None = None
    segmenter: Segmenter = field(default_factory=lambda: GroundTruth(fallback=Classical()))

    def check_root(self) -> None:
        """Open the data set and look for the splits and the columns."""
        if not Path(self.root).is_dir() and not _HUB_NAME.fullmatch(self.root):
            raise ValueError(f"dataset.root={self.root!r} is neither a folder nor a name on the hub (owner/name); give one of these")
        splits = _opened(self.root)
        self._rows = self._columns(splits, self.split, "split")
        self._validation_rows: Any = None
        if self.validation_split is not None:
            self._validation_rows = self._columns(splits, self.validation_split, "validation_split")
            if len(splits) == 1 or self.validation_split == self.split:
                raise ValueError(
                    f"dataset.validation_split={self.validation_split!r} is what is trained on; give another, or null to hold "
                    "dataset.num_held_out of its pictures out"
                )

    def entries(self) -> Sequence[int]:
        """Return the numbers of the rows."""
        return range(len(self._rows))

    def validation_entries(self) -> Sequence[int] | None:
        """Return the numbers of the validation split's rows, which follow on the others."""
        rows = self._validation_rows
        return None if rows is None else range(len(self._rows), len(self._rows) + len(rows))

    def read(self, entry: int) -> Picture:
        """Read a row's picture, masks and caption."""
        own, number = len(self._rows), int(entry)
        rows, row, split = (
            (self._rows, number, self.split) if number < own else (self._validation_rows, number - own, self.validation_split)
        )
        name = f"{Path(self.root).name}/{split}/{row}"
        try:
            cells = rows[row].to_pylist()[0]
        except (OSError, ValueError) as error:
            raise ValueError(f"{name} cannot be read ({error}); make the data set anew") from error
        image = self._content(cells[self.image_column], name)
        if image is None:
            raise ValueError(f"{name} has no picture in the column {self.image_column!r}; leave the row out")
        mask = cells[self.mask_column] if self.mask_column else None
        if isinstance(mask, list):
            mask = [content for cell in mask if (content := self._content(cell, name)) is not None]
        else:
            mask = self._content(mask, name)
        return encoded_picture(name, image, mask, _caption(cells[self.caption_column]) if self.caption_column else "")

    def _columns(self, splits: Mapping[str, Any], split: str, argument: str) -> Any:
        """Return a split as rows of undecoded cells, of the columns that are read."""
        if argument == "split" and len(splits) == 1:
            split = next(iter(splits))
        if split not in splits:
            raise ValueError(f"dataset.{argument}={split!r} is no split of {self.root!r}; it has {', '.join(splits)}")
        rows, columns = splits[split], []
        for name in ("image_column", "mask_column", "caption_column"):
            column = getattr(self, name)
            if column is not None and column not in rows.column_names:
                raise ValueError(f"dataset.{name}={column!r} is no column of {self.root!r}; it has {', '.join(rows.column_names)}")
            columns += [column] if column is not None else []
        return rows.select_columns(columns).with_format("arrow")

    def _content(self, cell: Any, name: str) -> bytes | None:
        """Return the picture file that a cell holds, or that it names inside the data set's folder; None of an empty cell."""
        if cell is None or isinstance(cell, bytes):
            return cell
        if not isinstance(cell, dict) or not {"bytes", "path"} & cell.keys():
            raise ValueError(f"{name} has {type(cell).__name__} where a picture is expected; name a column with an image feature")
        if cell.get("bytes") is not None or cell.get("path") is None:
            return cell.get("bytes")
        path = Path(os.path.abspath(cell["path"]))
        roots = os.path.abspath(self.root), os.path.realpath(self.root)  # of a root that is a link, the library tells where it leads
        if Path(self.root).is_dir() and not any(path.is_relative_to(root) for root in roots):
            raise ValueError(f"{name} names {path}, outside the data set's folder; store pictures in the data set")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{name} names {path}, which is no file of at most {MAX_BYTES} bytes; bring it back or leave the row out")
        try:
            return path.read_bytes()
        except OSError as error:
            raise ValueError(f"{name} names {path}, which cannot be read ({error.strerror})") from error


def _opened(root: str) -> Mapping[str, Any]:
    """Return the splits by name."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError("dataset=hf_dataset needs the datasets library: pip install -c constraints.txt -e '.[data]'") from error
    folder = Path(root)
    try:
        if not folder.is_dir():
            return datasets.load_dataset(root)
        if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
            found = datasets.load_from_disk(root)
        else:
            found = datasets.load_dataset(_kind_of_files(folder), data_dir=root)
    except Exception as error:  # the library's errors have no common base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        place = "" if folder.is_dir() else "is no folder here, and as a name on the hub it "
        raise ValueError(
            f"dataset.root={root!r} {place}cannot be opened ({reason}); give a data set that datasets.load_dataset reads"
        ) from error
    return found if isinstance(found, datasets.DatasetDict) else {"train": found}


def _kind_of_files(folder: Path) -> str:
    """Return which of the library's readers a folder is for; it has others, which read no pictures."""
    for kind in ("parquet", "arrow"):
        if next(folder.rglob(f"*.{kind}"), None) is not None:
            return kind
    return "imagefolder"


def _caption(cell: Any) -> str:
    text = cell[0] if isinstance(cell, list) and cell else cell
    return text.strip() if isinstance(text, str) else ""
