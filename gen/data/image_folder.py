"""A folder of pictures as a dataset, with masks and captions beside them where they exist."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from gen.data.region_data import Item, RegionData, sample_seed
from gen.segmentation import Classical, GroundTruth, Segmenter
from image_utils import convert, io

logger = logging.getLogger(__name__)

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
_MASK_SUFFIX = ".mask.png"


@dataclass(kw_only=True)
class ImageFolder(RegionData):
    """Pictures of any common format and size; the centred square of each is taken.

    Beside `name.jpg` may lie its regions, as a label map `name.mask.png` or `masks/name.png` (grey or palette; 0 is the background)
    of the picture's size, and its caption, `name.txt`. Only the header of each file is read at the start.

    Attributes:
        folder: where the pictures are; folders inside it are not searched.
        segmenter: by default the mask on disk, and colour regions where there is none. Of more than `num_regions - 1`
            objects the largest are kept.
        num_held_out: pictures kept for validation, drawn once; 0 validates on the training pictures.
        on_bad_file: raise at the first bad file, or skip bad files and log each. A file whose header is sound and whose pixels
            are not is found when it is first read; skipping then takes the next picture in its place.
    """

    folder: str
    segmenter: Segmenter = field(default_factory=lambda: GroundTruth(fallback=Classical()))
    num_held_out: int = 8
    on_bad_file: Literal["raise", "skip"] = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.on_bad_file not in ("raise", "skip"):
            raise ValueError(f"dataset.on_bad_file={self.on_bad_file!r} is unknown; use 'raise' or 'skip'")
        pictures = self._scan(Path(self.folder))
        if not 0 <= self.num_held_out < len(pictures):
            raise ValueError(
                f"dataset.num_held_out={self.num_held_out} leaves no picture to train on: {self.folder} holds {len(pictures)} usable "
                "pictures; give more pictures or a smaller number (0 validates on the training pictures)"
            )
        # Which pictures are held out follows from their number alone, so that it is the same in every run.
        order = sorted(range(len(pictures)), key=lambda index: sample_seed(0, index))
        held_out = set(order[: self.num_held_out])
        self._training = [picture for index, picture in enumerate(pictures) if index not in held_out]
        self._held_out = [pictures[index] for index in sorted(held_out)] or self._training

    def __len__(self) -> int:
        return len(self._training)

    def items(self, indices: list[int]) -> list[Item]:
        """Read the training pictures with these numbers; they are ordered by file name."""
        return [self._read_or_next(self._training, index) for index in indices]

    def validation_items(self, count: int) -> list[Item]:
        """Read the first `count` held-out pictures, or all of them where there are fewer."""
        return [self._read_or_next(self._held_out, index) for index in range(min(count, len(self._held_out)))]

    def _segment(self, item: Item) -> Int[Tensor, "h w"]:
        return keep_largest(super()._segment(item), self.num_regions - 1)

    def _scan(self, folder: Path) -> list[Path]:
        """List the folder's pictures by name, after a look at the header of each and of its mask."""
        if not folder.is_dir():
            raise ValueError(f"dataset.folder={str(folder)!r} is not a folder; give the folder that holds the pictures")
        candidates = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.endswith(_MASK_SUFFIX))
        _refuse_shared_stems(candidates)
        usable = []
        for path in candidates:
            try:
                _check(path)
            except ValueError as error:
                if self.on_bad_file == "raise":
                    raise ValueError(f"{error}; or leave bad files out with dataset.on_bad_file=skip") from error
                logger.warning("skipped: %s", error)
            else:
                usable.append(path)
        if len(usable) < len(candidates):
            logger.warning("%s: %d of %d pictures skipped", folder, len(candidates) - len(usable), len(candidates))
        if not usable:
            raise ValueError(
                f"dataset.folder={str(folder)!r} holds no usable picture ({', '.join(_SUFFIXES)}); pictures lie in it directly"
            )
        return usable

    def _read_or_next(self, pictures: list[Path], index: int) -> Item:
        """Read a picture; where it is damaged and may be skipped, the next sound one of the list."""
        for offset in range(len(pictures)):
            path = pictures[(index + offset) % len(pictures)]
            try:
                return _read(path, self.resolution)
            except ValueError as error:
                if self.on_bad_file == "raise":
                    raise
                logger.warning("skipped, the next picture takes its place: %s", error)
        raise ValueError(f"none of the {len(pictures)} pictures in {self.folder} can be read; the warnings above name each")


def keep_largest(label_map: Int[Tensor, "h w"], max_regions: int) -> Int[Tensor, "h w"]:
    """Keep the largest objects where there are too many, numbered in the order they had; the others join the background.

    Args:
        label_map: 0 background, any other value an object.
        max_regions: most objects to keep; if the labels are within 0..max_regions already, nothing changes.
    """
    if label_map.min() >= 0 and label_map.max() <= max_regions:
        return label_map
    labels, areas = label_map[label_map != 0].unique(return_counts=True)
    kept = labels[areas.argsort(descending=True, stable=True)[:max_regions]].sort().values
    number = torch.searchsorted(kept, label_map.contiguous()).clamp(max=len(kept) - 1)
    return torch.where(kept[number] == label_map, number + 1, 0)


def _mask_path(path: Path) -> Path | None:
    beside, inside = path.with_suffix(_MASK_SUFFIX), path.parent / "masks" / f"{path.stem}.png"
    if beside.exists() and inside.exists():
        raise ValueError(f"picture {path} has two masks, {beside} and {inside}; keep one")
    return beside if beside.exists() else inside if inside.exists() else None


def _refuse_shared_stems(paths: list[Path]) -> None:
    """Two pictures of one stem would share a mask and a caption."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise ValueError(f"{by_stem[path.stem]} and {path} would share their mask and caption; rename one")
        by_stem[path.stem] = path


def _check(path: Path) -> None:
    """Refuse a picture with a bad header, or whose mask has another size."""
    size = io.check_image(path)
    mask = _mask_path(path)
    if mask is None:
        return
    mask_size = io.check_label_map(mask)
    if mask_size != size:
        raise ValueError(
            f"mask {mask} is {mask_size[0]}x{mask_size[1]} pixels but its picture {path.name} is {size[0]}x{size[1]}; "
            "export the mask at the picture's size"
        )


def _read(path: Path, resolution: int) -> Item:
    """Read one picture, its mask and its caption, all through the same centred square."""
    image = io.load_image(path)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.resize((resolution, resolution), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
    mask, caption = _mask_path(path), path.with_suffix(".txt")
    label_map = None
    if mask is not None:
        centres = ((torch.arange(resolution) + 0.5) * side / resolution).long()
        label_map = io.load_label_map(mask)[top + centres][:, left + centres]
    text = caption.read_text(encoding="utf-8-sig", errors="replace").strip() if caption.exists() else ""
    return Item(convert.to_tensor(square), label_map, text)
