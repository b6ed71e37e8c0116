"""The offline pass: every picture of a data set is cut once, and its masks are kept on disk for `Cached` to read."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from gen.data.item import Item
from gen.data.mixture import Mixture
from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.data.region_data import RegionData
from gen.run_files import HeldError, hold
from gen.segmentation.mask_cache import MaskIndex, MaskRow, claim_folder, is_whole, settings_of, shard_folder, shard_summary, write_shard
from gen.segmentation.picture_key import picture_key
from image_utils.convert import to_pil, to_tensor
from image_utils.draw import overlay_regions
from image_utils.geometry import fitted_size, resize_image, resize_label_map
from image_utils.grid import image_grid
from image_utils.io import save_image

logger = logging.getLogger(__name__)

_TOGETHER = 16  # entries that are rendered in one batch, and that a loader process hands over at once
_SHEET_COLUMNS, _SHEET_ROWS, _SHEET_SIDE = 6, 3, 192
_MOST_NAMED = 50


@dataclass(frozen=True)
class Share:
    """The shards that one process makes: those whose number is `index` modulo `count`.

    Attributes:
        index: from 0.
        count: of the processes.
    """

    index: int = 0
    count: int = 1

    @staticmethod
    def parse(text: str) -> Share:
        """Read "i/n".

        Raises:
            ValueError: if it is not of that form, with 0 <= i < n.
        """
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            raise ValueError(f"shard {text!r} is not i/n with 0 <= i < n, such as 0/8 for the first of eight")
        return Share(int(index), int(count))


@dataclass(frozen=True)
class Outcome:
    """What a pass has done.

    Attributes:
        pictures: in the shards of this share, those that could not be read included.
        regions: of them, the background not counted.
        broken: name of and reason for each picture that could not be read.
        made: pictures that this call segmented; the others' shards were there.
        seconds: that segmenting them took.
        sheet: picture of some of the regions; None if no picture could be read.
    """

    pictures: int
    regions: int
    broken: list[str]
    made: int
    seconds: float
    sheet: Path | None

    def __str__(self) -> str:
        """Return a few lines for people."""
        lines = [f"broken: {reason}" for reason in self.broken[:_MOST_NAMED]]
        if len(self.broken) > _MOST_NAMED:
            lines.append(f"broken: {len(self.broken) - _MOST_NAMED} more, which the shards name")
        lines.append(
            f"{self.pictures} pictures, {self.regions} regions, {len(self.broken)} broken; {self.made} pictures made now in "
            f"{self.seconds:.1f} s, {self.made / max(self.seconds, 1e-9):.2f} a second"
        )
        return "\n".join(lines if self.sheet is None else [*lines, f"contact sheet: {self.sheet}"])


def segment_data_set(data: RegionData, out: Path, shard_size: int = 1000, share: Share | None = None) -> Outcome:
    """Cut all pictures of a data set and keep the masks; run again, it makes only what is missing.

    Shard k holds the entries [k * shard_size, (k + 1) * shard_size) of the data set's order, training before validation; of a pair both
    pictures. It is the same, byte for byte, whenever it is made, by however many loader processes (`data.num_workers`).

    Args:
        data: a data set of pictures, or a rendered one.
        out: a folder of its own.
        shard_size: entries a shard, which is the work that is lost at most when the process is killed.
        share: which shards; None makes all of them.

    Raises:
        ValueError: if `out` holds other masks or other files, another process works on this share, a picture that could be read could
            not be cut, or the data are a mixture of data sets.
    """
    if isinstance(data, Mixture):
        raise ValueError(f"a mixture is no data set to segment; segment its parts ({', '.join(data.parts)}), each into a folder of its own")
    if shard_size < 1:
        raise ValueError(f"shard_size={shard_size} is too small; it must be at least 1")
    share, entries = share or Share(), _Entries(data)
    settings = {"segmenter": settings_of(data.segmenter), "data": _identity(data, len(entries)), "shard_size": shard_size}
    claim_folder(out, settings)
    try:
        lock = hold(out / f".share-{share.index}-of-{share.count}.lock")
    except HeldError as error:
        raise ValueError(f"{out}: {error} works on share {share.index}/{share.count} already; wait for it") from error
    with lock:
        numbers = range(share.index, -(-len(entries) // shard_size), share.count)
        spans = {number: range(number * shard_size, min((number + 1) * shard_size, len(entries))) for number in numbers}
        made, seconds = _make_missing(entries, out, spans, settings)
        pictures, regions, broken = 0, 0, []
        for number in spans:
            summary = shard_summary(out, number)
            pictures, regions = pictures + len(summary), regions + sum(count for _, count, _ in summary)
            broken += [f"{name}: {error}" for name, _, error in summary if error]
        sheet = _contact_sheet(entries, out, spans, share)
    return Outcome(pictures, regions, broken, made, seconds, sheet)


def _make_missing(entries: _Entries, out: Path, spans: dict[int, range], settings: dict[str, Any]) -> tuple[int, float]:
    """Make the shards that are not whole, and return how many pictures they have and how many seconds that took."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    missing = {number: span for number, span in spans.items() if not is_whole(out, number)}
    total, waiting = sum(map(len, spans.values())), sum(map(len, missing.values()))
    made, begun = 0, time.monotonic()
    with tqdm(total=total, initial=total - waiting, unit="picture", desc=str(out)) as progress, logging_redirect_tqdm():
        blocks = _in_order(entries, list(missing.values()))
        for number, span in missing.items():
            rows: list[MaskRow] = []
            for _ in _blocks(span):
                count, new = next(blocks)
                for row in new:
                    if row.error:
                        logger.warning("skipped: %s: %s", row.name, row.error)
                rows += new
                progress.update(count)
            claim_folder(out, settings)  # the first shard decides, should another task have begun with other settings
            write_shard(out, number, rows)
            made += len(rows)
    return made, time.monotonic() - begun


def _in_order(entries: _Entries, spans: list[range]) -> Iterator[tuple[int, list[MaskRow]]]:
    """Yield the rows of each block of entries, in order, whatever loader process made them.

    Raises:
        ValueError: if a picture could not be cut.
    """
    blocks = [block for span in spans for block in _blocks(span)]
    loader: DataLoader = DataLoader(entries, sampler=blocks, batch_size=None, num_workers=entries.data.num_workers, collate_fn=_as_it_is)
    for block, rows in zip(blocks, loader, strict=True):
        if isinstance(rows, ValueError):
            raise rows
        yield len(block), rows


def _blocks(span: range) -> list[range]:
    return [span[start : start + _TOGETHER] for start in range(0, len(span), _TOGETHER)]


def _as_it_is(rows: list[MaskRow] | ValueError) -> list[MaskRow] | ValueError:
    return rows


class _Entries(Dataset):
    """A data set's entries, training before validation; a block of them becomes rows, in a loader's process or in this one."""

    def __init__(self, data: RegionData) -> None:
        self.data = data
        self.pictures = data.pictures() if isinstance(data, PictureData) else None

    def __len__(self) -> int:
        return len(self.data) + self.data.num_validation if self.pictures is None else len(self.pictures)

    def __getitem__(self, block: range) -> list[MaskRow] | ValueError:
        """Return the rows of a block, or why a picture could not be cut: raised here, the loader would put a traceback before it."""
        rows = []
        for index, entry in zip(block, self.read(block), strict=True):
            if isinstance(entry, str):
                rows.append(MaskRow(None, f"entry {index}", error=entry))
                continue
            for name, pixel_values, own in entry:
                try:
                    regions = self.data.segmenter(pixel_values, own)
                except ValueError as error:
                    return ValueError(f"{name}: {error}")
                rows.append(MaskRow.from_regions(picture_key(pixel_values), name, regions))
        return rows

    def read(self, block: range) -> list[list[tuple[str, Tensor, Tensor | None]] | str]:
        """Return each entry's pictures, of a pair both: name, pixels and what regions the data have; or why it cannot be read."""
        if self.pictures is not None:
            return [self._picture(index) for index in block]
        held_out = [index - len(self.data) for index in block if index >= len(self.data)]
        items = self.data.items([index for index in block if index < len(self.data)])
        if held_out:
            items += self.data.validation_items(max(held_out) + 1)[min(held_out) :]
        return [_item_pictures(f"entry {index}", item) for index, item in zip(block, items, strict=True)]

    def _picture(self, index: int) -> list[tuple[str, Tensor, Tensor | None]] | str:
        assert self.pictures is not None
        try:
            picture = self.pictures[index]
        except (ValueError, OSError) as error:
            return str(error)
        return _pictures(picture.name or f"entry {index}", picture)


def _pictures(name: str, picture: Picture) -> list[tuple[str, Tensor, Tensor | None]]:
    target = [] if picture.target is None else _pictures(f"{name} (target)", picture.target)
    return [(name, to_tensor(picture.image), picture.label_map), *target]


def _item_pictures(name: str, item: Item) -> list[tuple[str, Tensor, Tensor | None]]:
    target = [] if item.target is None else _item_pictures(f"{name} (target)", item.target)
    return [(name, item.pixel_values, item.label_map if item.masks is None else item.masks), *target]


def _identity(data: RegionData, entries: int) -> dict[str, Any]:
    """Return what tells which pictures these are and in which order: of the fields that data sets share, only those that say that."""
    of_pictures = isinstance(data, PictureData)
    shared = {field.name for field in fields(PictureData if of_pictures else RegionData)}
    counts = {"root"} if of_pictures else {"resolution", "overfit_items"}
    return {name: value for name, value in settings_of(data).items() if name in counts or name not in shared} | {"entries": entries}


def _contact_sheet(entries: _Entries, out: Path, spans: dict[int, range], share: Share) -> Path | None:
    """Draw some pictures of the share, evenly spread, with the regions that are on disk; other tasks may still write their shards.

    Raises:
        ValueError: if a picture is not the one that was cut.
    """
    if not spans:
        return None
    total, shards = sum(map(len, spans.values())), list(spans)
    count = min(_SHEET_COLUMNS * _SHEET_ROWS, total)
    index, cells = MaskIndex(out, shards), []
    for position in (step * total // count for step in range(count)):
        shard, place = divmod(position, len(spans[shards[0]]))  # all but the last are equally long
        number = spans[shards[shard]][place]
        entry = entries.read(range(number, number + 1))[0]
        if isinstance(entry, str):
            continue
        name, pixel_values, _ = entry[0]
        row = index.find(picture_key(pixel_values))
        if row is None:
            raise ValueError(f"{name}: has changed since its masks were made; remove {shard_folder(out, shards[shard])} and run again")
        cells.append(_cell(pixel_values, row.regions()))
    if not cells:
        return None
    name = "contact_sheet" if share.count == 1 else f"contact_sheet-{share.index}-of-{share.count}"
    path = out / f"{name}.png"
    save_image(image_grid([cells[i : i + _SHEET_COLUMNS] for i in range(0, len(cells), _SHEET_COLUMNS)]), path)
    return path


def _cell(pixel_values: Float[Tensor, "3 h w"], regions: Int[Tensor, "h w"] | Bool[Tensor, "n h w"]) -> Image.Image:
    """Draw a picture small, with its regions: drawn first and made small then, those of a photograph would take a minute."""
    image = to_pil(pixel_values)
    if max(image.size) > _SHEET_SIDE:
        size = fitted_size(*image.size, _SHEET_SIDE)
        image, regions = resize_image(image, size), resize_label_map(regions, size)
    return overlay_regions(image, regions, scale=_SHEET_SIDE // max(image.size))
