"""A folder of pictures as a dataset, with masks and captions beside them where they exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, GroundTruth, Segmenter
from gen.segmentation.mask_files import check_mask_file, find_mask_file, load_mask_file
from image_utils import io

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")


@dataclass(kw_only=True)
class ImageFolder(PictureData):
    """Pictures of any common format and size in one folder; folders inside it are not searched.

    Beside `name.jpg` may lie its regions, in any of the forms that `gen/segmentation/mask_files.py` reads (`name.mask.png`,
    `masks/name.npy`, ...), and its caption, `name.txt`. Only the header of each file is read at the start.

    Attributes:
        segmenter: by default the mask on disk, and colour regions where there is none.
    """

    segmenter: Segmenter = field(default_factory=lambda: GroundTruth(fallback=Classical()))

    def entries(self) -> list[Path]:
        """List the folder's pictures by name."""
        files = Path(self.root).iterdir()
        paths = sorted(path for path in files if path.suffix.lower() in _SUFFIXES and not path.stem.endswith(".mask"))
        if not paths:
            raise ValueError(f"dataset.root={self.root!r} holds no usable picture ({', '.join(_SUFFIXES)}); pictures lie in it directly")
        _refuse_shared_stems(paths)
        return paths

    def check(self, entry: Path) -> None:
        """Refuse a picture with a bad header, or whose mask has another size."""
        size, mask = io.check_image(entry), find_mask_file(entry)
        if mask is not None:
            check_mask_file(mask, size)

    def read(self, entry: Path) -> Picture:
        """Read a picture, its mask and its caption."""
        image, mask, caption = io.load_image(entry), find_mask_file(entry), entry.with_suffix(".txt")
        return Picture(
            image,
            label_map=None if mask is None else load_mask_file(mask, image.size),
            caption=caption.read_text(encoding="utf-8-sig", errors="replace").strip() if caption.is_file() else "",
            name=entry.name,
        )


def _refuse_shared_stems(paths: list[Path]) -> None:
    """Two pictures of one stem would share a mask and a caption."""
    by_stem: dict[str, Path] = {}
    for path in paths:
        if path.stem in by_stem:
            raise ValueError(f"{by_stem[path.stem]} and {path} would share their mask and caption; rename one")
        by_stem[path.stem] = path
