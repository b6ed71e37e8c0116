"""Masks on disk: Parquet shards with a row a picture, each shard whole or absent, and the settings of the segmenter that made them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gen.artefact import ArtefactError, verify_folder, write_folder
from gen.segmentation.rle import decode_mask, encode_mask

FORMAT_VERSION = 1
SETTINGS = "settings.json"
MASKS = "masks.parquet"
_ROWS_A_GROUP = 32  # that are decompressed together when one is read
_REMEDY = "remove its folder and run scripts/segment.py again"


@dataclass(frozen=True)
class MaskRow:
    """What is kept of one picture.

    Attributes:
        key: `picture_key` of its pixels; None if it could not be read.
        name: of the picture in its data set.
        height: in pixels.
        width: in pixels.
        exclusive: the masks are those of a label map, by their numbers; else they may overlap, and row 0 is the background.
        numbers: label of each mask.
        counts: compressed run lengths of each mask, as COCO has them.
        areas: pixels of each mask.
        error: why the picture could not be read; "" if it could.
    """

    key: str | None
    name: str
    height: int = 0
    width: int = 0
    exclusive: bool = True
    numbers: tuple[int, ...] = ()
    counts: tuple[bytes, ...] = ()
    areas: tuple[int, ...] = ()
    error: str = ""

    @staticmethod
    def from_regions(key: str, name: str, regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"]) -> MaskRow:
        """Describe what a segmenter returned."""
        exclusive, (height, width) = regions.ndim == 2, regions.shape[-2:]
        numbers = regions[regions != 0].unique().tolist() if exclusive else list(range(len(regions)))
        counts, areas = [], []
        for number in numbers:  # one at a time: a large picture with many regions would not fit as masks
            mask = regions == number if exclusive else regions[number]
            counts.append(encode_mask(mask))
            areas.append(int(mask.sum()))
        return MaskRow(key, name, height, width, exclusive, tuple(numbers), tuple(counts), tuple(areas))

    def regions(self) -> Int[Tensor, "h w"] | Bool[Tensor, "n h w"]:
        """Return what the segmenter returned.

        Raises:
            ValueError: if the run lengths are damaged.
        """
        masks = [decode_mask(counts, self.height, self.width) for counts in self.counts]
        if not self.exclusive:
            return torch.stack(masks)
        label_map = torch.zeros(self.height, self.width, dtype=torch.long)
        for number, mask in zip(self.numbers, masks, strict=True):
            label_map[mask] = number
        return label_map


def settings_of(part: Any) -> Any:
    """Return the class and the fields of a segmenter, and of what it is made of, as JSON values."""
    if is_dataclass(part) and not isinstance(part, type):
        named = {field.name: settings_of(getattr(part, field.name)) for field in fields(part) if field.init}
        return {"class": f"{type(part).__module__}.{type(part).__qualname__}", **named}
    if isinstance(part, dict):
        return {str(key): settings_of(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [settings_of(value) for value in part]
    return part if part is None or isinstance(part, bool | int | float | str) else str(part)


def claim_folder(root: Path, settings: dict[str, Any]) -> None:
    """Write the settings that all shards of a folder share, or see that they are the same.

    Settings that no shard was made with, as a first attempt leaves them that was stopped by a mistake, are replaced.

    Raises:
        ArtefactError: if the folder holds masks of other settings, naming what differs, or something else.
    """
    settings = {"format_version": FORMAT_VERSION, **settings}
    if (root / SETTINGS).exists():
        differences = list(_differences(read_settings(root), settings))
        if not differences:
            return
        if any(root.glob("shard-*")):
            listed = "\n".join(f"  {line}" for line in differences)
            raise ArtefactError(f"{root}: holds masks that were made with other settings; choose another folder, or remove it\n{listed}")
    elif root.exists() and (not root.is_dir() or any(root.glob("[!.]*"))):
        raise ArtefactError(f"{root}: holds files but no {SETTINGS}, so it is not ours to write in; choose another folder or empty it")
    root.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=root, prefix=f".{SETTINGS}.")  # tasks of an array start at the same moment, with the same text
    with os.fdopen(handle, "w") as file:
        file.write(json.dumps(settings, indent=1, sort_keys=True))
        file.flush()
        os.fsync(file.fileno())
    os.chmod(name, 0o644)
    os.replace(name, root / SETTINGS)


def read_settings(root: Path) -> dict[str, Any]:
    """Return the settings of a folder of masks.

    Raises:
        ArtefactError: if there are none, or they are of another version of the format.
    """
    path = root / SETTINGS
    try:
        settings = json.loads(path.read_text())
        version = settings["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"{path}: no settings of masks ({error}); {root} is a folder that scripts/segment.py has written") from error
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{path}: format_version {version}, and this program reads {FORMAT_VERSION}; make the masks again")
    return settings


def shard_folder(root: Path, number: int) -> Path:
    """Return where a shard lies."""
    return root / f"shard-{number:06d}"


def write_shard(root: Path, number: int, rows: Sequence[MaskRow]) -> None:
    """Write a shard whole or not at all; the same rows and settings give the same bytes.

    Raises:
        ArtefactError: if its place holds something else, or the disk is full.
    """
    arrow, parquet = _arrow()
    settings = json.dumps(read_settings(root)["segmenter"], sort_keys=True)
    types = {
        "key": arrow.binary(16), "name": arrow.string(), "height": arrow.int32(), "width": arrow.int32(), "exclusive": arrow.bool_(),
        "numbers": arrow.list_(arrow.int64()), "counts": arrow.list_(arrow.binary()), "areas": arrow.list_(arrow.int64()),
        "error": arrow.string(),
    }  # fmt: skip
    about = {
        "format_version": str(FORMAT_VERSION),
        "segmenter": settings,
        "segmenter_sha256": hashlib.sha256(settings.encode()).hexdigest(),
    }
    values = [{**asdict(row), "key": None if row.key is None else bytes.fromhex(row.key)} for row in rows]
    table = arrow.Table.from_pylist(values, arrow.schema(types, about))

    def write(folder: Path) -> None:
        parquet.write_table(
            table, folder / MASKS, row_group_size=_ROWS_A_GROUP, compression="zstd", use_dictionary=False, write_page_checksum=True
        )

    write_folder(shard_folder(root, number), write)


def is_whole(root: Path, number: int) -> bool:
    """Tell whether a shard is there with every byte as it was written."""
    try:
        verify_folder(shard_folder(root, number))
    except ArtefactError:
        return False
    return True


def shard_summary(root: Path, number: int) -> list[tuple[str, int, str]]:
    """Return the name of each picture of a shard, how many objects it has, and why it could not be read, if so.

    Raises:
        ArtefactError: if the shard is damaged.
    """
    with _opened(shard_folder(root, number) / MASKS) as file:
        rows = file.read(["name", "exclusive", "numbers", "error"], use_threads=False).to_pylist()
    return [(row["name"], len(row["numbers"]) - (not row["exclusive"]), row["error"]) for row in rows]


class MaskIndex:
    """Where each picture's row lies: sorted keys of 16 bytes and places of 8, whatever the masks weigh; rows are read when asked for."""

    def __init__(self, root: Path, numbers: Iterable[int] | None = None) -> None:
        """Read the keys of the shards.

        Args:
            root: the folder of the shards.
            numbers: of those to look into; None looks into all.

        Raises:
            ArtefactError: if there is none, or one is damaged.
        """
        read_settings(root)
        self._shards = sorted(root.glob("shard-*")) if numbers is None else [shard_folder(root, number) for number in numbers]
        if not self._shards:
            raise ArtefactError(f"{root}: holds no shard yet; run scripts/segment.py until its end")
        keys, places = zip(*map(_keys, self._shards, range(len(self._shards))), strict=True)
        joined, numbers = np.concatenate(keys), np.concatenate(places)
        order = np.argsort(joined, kind="stable")  # of two equal pictures the first counts
        self._keys, self._places = joined[order], numbers[order]

    def __len__(self) -> int:
        """Return how many pictures there are, equal ones counted each."""
        return len(self._keys)

    def find(self, key: str) -> MaskRow | None:
        """Return a picture's row, None if it has none.

        Raises:
            ArtefactError: if its shard is damaged.
        """
        wanted = np.array(bytes.fromhex(key), dtype="S16")
        position = int(np.searchsorted(self._keys, wanted))
        if position == len(self._keys) or self._keys[position] != wanted:
            return None
        shard, row = divmod(int(self._places[position]), 1 << 32)
        group, place = divmod(row, _ROWS_A_GROUP)
        with _opened(self._shards[shard] / MASKS) as file:
            values: dict[str, Any] = file.read_row_group(group, use_threads=False).slice(place, 1).to_pylist()[0]
        lists = {name: tuple(values[name]) for name in ("numbers", "counts", "areas")}
        return MaskRow(**{**values, **lists, "key": key})


def _keys(folder: Path, shard: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys of a shard's readable pictures, and where each lies: 2^32 times the shard, plus its row."""
    with _opened(folder / MASKS) as file:
        column = file.read(["key"], use_threads=False).column("key")
    known = np.flatnonzero(column.is_valid().to_numpy())
    keys = np.frombuffer(b"".join(column.drop_null().to_pylist()), dtype="S16")
    return keys, known + (shard << 32)


def _differences(there: Any, now: Any, path: str = "") -> Iterator[str]:
    """Yield a line for each setting that differs."""
    if isinstance(there, dict) and isinstance(now, dict):
        for key in sorted({*there, *now}):
            yield from _differences(there.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif json.dumps(there) != json.dumps(now):
        yield f"{path}: {json.dumps(there)} there, {json.dumps(now)} now"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Yield a Parquet file whose pages are checked as they are read."""
    arrow, parquet = _arrow()
    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield file
    except (OSError, arrow.ArrowException, KeyError) as error:
        raise ArtefactError(f"{path}: missing or damaged ({error}); {_REMEDY}") from error


def _arrow() -> tuple[Any, Any]:
    """Import what reads and writes Parquet, here, because not everybody has it."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError("masks on disk need pyarrow: pip install -c constraints.txt -e '.[data]'") from error
    return pyarrow, parquet
