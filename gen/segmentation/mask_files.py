"""Regions from a mask file beside a picture: label maps, colours, arrays, COCO's JSON, a folder with a file a mask."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Int, Shaped
from PIL import Image
from torch import Tensor

from gen.segmentation.rle import decode_mask
from image_utils import io
from image_utils.bounded import RefusedPictureError, opened, shown

MAX_MASK_PIXELS = 1 << 29  # of all masks of a picture together, each of them a byte
MAX_COLOURS = 4096
MAX_POLYGON_SHARE = 64  # of the picture: what the boxes of one mask's polygons may add up to
MASK_SUFFIXES = (".png", ".npy", ".npz", ".json")
_FORMS = "a PNG label map or colours, an .npy or .npz array, COCO's .json, or a folder of binary PNGs"

Size = tuple[int, int]
Regions = Int[Tensor, "h w"] | Bool[Tensor, "n h w"]


class MaskFileError(RefusedPictureError):
    """A mask file that cannot be used; the message names it and the remedy."""


def _refused(path: Path, reason: str) -> MaskFileError:
    """Return the refusal of a mask file."""
    return MaskFileError(f"mask {shown(path)} {reason}")


def find_mask_file(picture_path: Path) -> Path | None:
    """Return the mask file of a picture, None if it has none.

    Of `name.jpg` that is `name.mask.png` (or .npy, .npz, .json) beside it, `masks/name.png` (or .npy, ...), or the folder `masks/name`.

    Raises:
        ValueError: if there are several.
    """
    inside = picture_path.parent / "masks"
    names = [picture_path.with_suffix(f".mask{suffix}") for suffix in MASK_SUFFIXES]
    names += [inside / f"{picture_path.stem}{suffix}" for suffix in ("", *MASK_SUFFIXES)]
    found = [path for path in names if os.path.exists(path)]  # a name that becomes too long is not there; path.exists() would raise
    if len(found) > 1:
        raise MaskFileError(f"picture {shown(picture_path)} has two masks, {shown(found[0])} and {shown(found[1])}; keep one")
    return found[0] if found else None


def load_mask_file(path: Path, size: Size) -> Regions:
    """Read the regions of a picture.

    - PNG, grey or palette: a pixel's value is its label. In colours: each colour is an object, by rising red, green, blue; black is the
      background.
    - .npy, .npz with one array: whole numbers [h w] are labels, booleans [n h w] masks. Nothing is unpickled.
    - .json: annotations as of COCO, SA-1B or SAM's generator, of this picture alone: run lengths, or polygons of pixels' corners.
    - a folder: each PNG is a mask, in the order of the numbers in their names; what is not 0 belongs to it. Other files are left alone.

    Args:
        path: as `find_mask_file` gives it.
        size: (width, height) of the picture.

    Returns:
        A label map, 0 for the background; the k-th of masks has label k. Masks that overlap stay masks, behind a row 0 that is the
        background: where no mask is.

    Raises:
        ValueError: if the file is missing, damaged, of another size than the picture, or beyond the bounds on bytes and pixels.
    """
    if path.is_dir():
        masks = (_read_png(part) != 0 for part in _parts(path, size))
        return _from_masks(path, size, masks, len(_parts(path, size)))
    if path.suffix == ".png":
        return _checked(path, size, _read_png(path))
    if path.suffix == ".json":
        annotations = _read_json(path)
        return _from_masks(path, size, (_annotated(path, size, entry) for entry in annotations), len(annotations))
    array = _read_array(path, size)
    return _checked(path, size, array) if array.ndim == 2 else _from_masks(path, size, iter(array), len(array))


def check_mask_file(path: Path, size: Size) -> None:
    """Judge a mask file by its header; a .json has none, so of that only its length in bytes.

    Raises:
        ValueError: if `load_mask_file` would refuse the file for what its header says.
    """
    if path.is_dir():
        _parts(path, size)
    elif path.suffix == ".png":
        _check_png(path, size)
    elif path.suffix == ".json":
        _check_bytes(path, io.MAX_BYTES)
    else:
        with _opened_array(path) as stream:
            _check_header(path, size, stream)


def _from_masks(path: Path, size: Size, masks: Iterator[Bool[Tensor, "h w"]], count: int) -> Regions:
    """Join masks: to a label map, if no two overlap."""
    if count * size[0] * size[1] > MAX_MASK_PIXELS:
        raise _refused(path, f"holds {count} masks of {size[0]}x{size[1]} pixels, more than the bound of {MAX_MASK_PIXELS}; keep fewer")
    stack = torch.zeros(count + 1, size[1], size[0], dtype=torch.bool)
    label_map = torch.zeros(size[1], size[0], dtype=torch.long)
    overlap = False
    for number, mask in enumerate(masks, start=1):
        stack[number] = _checked(path, size, mask)
        overlap |= bool(label_map[mask].any())
        label_map[mask] = number
    stack[0] = label_map == 0
    return stack if overlap else label_map


def _read_png(path: Path) -> Int[Tensor, "h w"]:
    with opened(path, ("PNG",), io.MAX_BYTES, io.MAX_PIXELS) as image:
        _refuse_transparency(path, image)
        pixels = torch.from_numpy(np.asarray(image).astype(np.int64)) if image.mode == "RGB" else None
    if pixels is None:
        return io.load_label_map(path)
    colours, numbers = (pixels @ torch.tensor([1 << 16, 1 << 8, 1])).unique(return_inverse=True)
    if len(colours) > MAX_COLOURS:
        raise _refused(path, f"has {len(colours)} colours, so it was smoothed or is no mask; export it without anti-aliasing")
    return numbers + int(colours[0] != 0)


def _check_png(path: Path, size: Size) -> None:
    with opened(path, ("PNG",), io.MAX_BYTES, io.MAX_PIXELS, header_only=True) as image:
        found = image.size
        _refuse_transparency(path, image)
    _check_size(path, size, found)


def _refuse_transparency(path: Path, image: Image.Image) -> None:
    if image.mode in ("RGBA", "LA") or ("transparency" in image.info and image.mode != "P"):
        raise _refused(path, f"has transparency (mode {image.mode}); save it without: black is the background")


def _parts(folder: Path, size: Size) -> list[Path]:
    """List a folder's PNGs in the order of the numbers in their names, after a look at their headers."""
    paths = [path for path in folder.iterdir() if path.suffix.lower() == ".png"]
    paths.sort(key=lambda path: ([int(number) for number in re.findall(r"\d{1,18}", path.stem)], path.name))
    if not paths:
        raise _refused(folder, "holds no PNG; save each mask as one, or remove the folder")
    for path in paths:
        _check_png(path, size)
    return paths


@contextmanager
def _opened_array(path: Path) -> Iterator[BufferedIOBase]:
    """Yield the bytes of an .npy file, or of the one in an .npz."""
    if path.suffix not in (".npy", ".npz"):
        raise _refused(path, f"is of an unknown kind; give {_FORMS}")
    _check_bytes(path, 9 * MAX_MASK_PIXELS)  # labels of 8 bytes; the header tells how many there are
    try:
        if path.suffix == ".npy":
            with path.open("rb") as stream:
                yield stream
            return
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError(f"it holds {len(names)} arrays, and one is expected")
            with archive.open(names[0]) as stream:
                yield cast(BufferedIOBase, stream)
    except MaskFileError:
        raise
    except Exception as error:  # numpy and zipfile raise many kinds on a hostile file
        raise _refused(path, f"cannot be read ({error or type(error).__name__}); save it again with numpy.save") from error


def _check_header(path: Path, size: Size, stream: BufferedIOBase) -> None:
    """Refuse an array by its header, before room is made for it."""
    version = np.lib.format.read_magic(stream)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"version {version} of the format is not read")
    shape, _, dtype = read(stream)
    if not ((dtype.kind in "iu" and len(shape) == 2) or (dtype.kind == "b" and len(shape) == 3)):
        found = f"{dtype} {list(shape)}"
        raise _refused(path, f"is an array {found}; give whole numbers [h w] that are labels, or booleans [n h w] that are masks")
    _check_size(path, size, (shape[-1], shape[-2]))
    if np.prod(shape, dtype=object) > MAX_MASK_PIXELS:
        raise _refused(path, f"holds {list(shape)} pixels, more than the bound of {MAX_MASK_PIXELS}; keep fewer masks")


def _read_array(path: Path, size: Size) -> Shaped[Tensor, "..."]:
    with _opened_array(path) as stream:
        _check_header(path, size, stream)
    with _opened_array(path) as stream:
        array = np.lib.format.read_array(stream, allow_pickle=False)
        return torch.from_numpy(array if array.dtype.kind == "b" else array.astype(np.int64))


def _read_json(path: Path) -> list[Any]:
    """Return the annotations that a file holds."""
    _check_bytes(path, io.MAX_BYTES)
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"is no JSON ({type(error).__name__}: {error}); write it again") from error
    if isinstance(data, dict) and isinstance(data.get("images"), list) and len(data["images"]) > 1:
        raise _refused(path, f"describes {len(data['images'])} pictures; give every picture a file of its own")
    annotations = data.get("annotations") if isinstance(data, dict) else data
    if not isinstance(annotations, list):
        raise _refused(path, "holds no list of annotations; give one, each with a 'segmentation' as COCO has it")
    return annotations


def _annotated(path: Path, size: Size, annotation: Any) -> Bool[Tensor, "h w"]:
    """Return the mask of one annotation."""
    outline = annotation.get("segmentation") if isinstance(annotation, dict) else None
    width, height = size
    try:
        if isinstance(outline, dict):
            counts, shape = outline.get("counts"), outline.get("size")
            if isinstance(shape, list) and len(shape) == 2:
                _check_size(path, size, (shape[1], shape[0]))
            return decode_mask(counts.encode() if isinstance(counts, str) else list(counts or []), height, width)
        if isinstance(outline, list) and outline:
            inside, room = np.zeros((height, width), dtype=bool), MAX_POLYGON_SHARE * height * width
            for polygon in outline:
                room -= _fill(inside, np.array(polygon, dtype=np.float64).reshape(-1, 2))
                if room < 0:
                    raise ValueError(f"the {len(outline)} polygons of one mask cover the picture {MAX_POLYGON_SHARE} times; write it again")
            return torch.from_numpy(inside)
    except MaskFileError:
        raise
    except (ValueError, TypeError) as error:
        raise _refused(path, f"cannot be read ({error})") from error
    raise _refused(path, "has an annotation without a 'segmentation' of run lengths or polygons; write it as COCO does")


def _fill(inside: np.ndarray, corners: np.ndarray) -> int:
    """Mark the pixels whose centres lie inside a polygon, row by row between every other crossing; return the pixels of its box."""
    height, width = inside.shape
    if len(corners) < 3 or not np.isfinite(corners).all() or np.abs(corners).max() > 1e6:
        raise ValueError("a polygon needs three corners or more, all of them numbers of pixels; write it again")
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    starts, ends = (np.ceil(y - 0.5).clip(0, height).astype(np.int64) for y in (np.minimum(y0, y1), np.maximum(y0, y1)))
    left, right = (int(np.ceil(x - 0.5).clip(0, width)) for x in (x0.min(), x0.max()))
    top, rows = starts.min(), ends - starts
    if rows.sum() > MAX_MASK_PIXELS >> 4:
        raise ValueError(f"a polygon of {len(corners)} corners is too intricate; simplify it")
    side = np.repeat(np.arange(len(rows)), rows)
    row = np.arange(len(side)) - np.repeat(np.cumsum(rows) - rows, rows) + starts[side]
    x = x0[side] + (row + 0.5 - y0[side]) / (y1 - y0)[side] * (x1 - x0)[side]
    crossings = np.zeros((ends.max() - top, right - left + 1), dtype=np.uint8)  # overflow keeps what counts: odd or even
    np.add.at(crossings, (row - top, np.ceil(x - 0.5).clip(left, right).astype(np.int64) - left), 1)
    inside[top : ends.max(), left:right] |= np.bitwise_xor.accumulate(crossings & 1, axis=1)[:, :-1].astype(bool)
    return crossings.size


def _checked(path: Path, size: Size, regions: Shaped[Tensor, "..."]) -> Shaped[Tensor, "h w"]:
    _check_size(path, size, (regions.shape[-1], regions.shape[-2]))
    if regions.dtype != torch.bool and regions.min() < 0:
        raise _refused(path, f"has the label {int(regions.min())}; labels are 0 for the background and 1, 2, ... for objects")
    return regions


def _check_size(path: Path, size: Size, found: tuple[Any, Any]) -> None:
    if found != size:
        raise _refused(
            path, f"is {found[0]}x{found[1]} pixels but its picture is {size[0]}x{size[1]}; export the mask at the picture's size"
        )


def _check_bytes(path: Path, most: int) -> None:
    if not path.is_file():
        raise _refused(path, f"is no file; give {_FORMS}")
    if path.stat().st_size > most:
        raise _refused(path, f"has {path.stat().st_size} bytes, more than the bound of {most}; make it smaller")
