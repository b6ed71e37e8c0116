"""A folder of pictures as a dataset, with masks and captions beside them where they exist."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from gen.data.picture import Picture
from gen.data.picture_data import PictureData
from gen.segmentation import Classical, GroundTruth, Segmenter
from image_utils import io

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm")
_MASK_SUFFIX = ".mask.png"


@dataclass(kw_only=True)
class ImageFolder(PictureData):
    """Pictures of any common format and size in one folder; folders inside it are not searched.

    Beside `name.jpg` may lie its regions, as a label map `name.mask.png` or `masks/name.png` (grey or palette; 0 is the background)
    of the picture's size, and its caption, `name.txt`. Only the header of each file is read at the start.

    Attributes:
        segmenter: by default the mask on disk, and colour regions where there is none.
    """

    segmenter: Segmenter = field(default_factory=lambda: GroundTruth(fallback=Classical()))

    def entries(self) -> list[Path]:
        """List the folder's pictures by name."""
        files = Path(self.root).iterdir()
        paths = sorted(path for path in files if path.suffix.lower() in _SUFFIXES and not path.name.endswith(_MASK_SUFFIX))
        if not paths:
            raise ValueError(f"dataset.root={self.root!r} holds no usable picture ({', '.join(_SUFFIXES)}); pictures lie in it directly")
        _refuse_shared_stems(paths)
        return paths

    def check(self, entry: Path) -> None:
        """Refuse a picture with a bad header, or whose mask has another size."""
        size = io.check_image(entry)
        mask = _mask_path(entry)
        if mask is None:
            return
        mask_size = io.check_label_map(mask)
        if mask_size != size:
            raise ValueError(
                f"mask {mask} is {mask_size[0]}x{mask_size[1]} pixels but its picture {entry.name} is {size[0]}x{size[1]}; "
                "export the mask at the picture's size"
            )

    def read(self, entry: Path) -> Picture:
        """Read a picture, its mask and its caption."""
        mask, caption = _mask_path(entry), entry.with_suffix(".txt")
        return Picture(
            io.load_image(entry),
            label_map=None if mask is None else io.load_label_map(mask),
            caption=caption.read_text(encoding="utf-8-sig", errors="replace").strip() if caption.exists() else "",
            name=entry.name,
        )


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
