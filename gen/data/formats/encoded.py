"""Pictures that a data set stores as the contents of picture files: decoded within bounds, with their regions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gen.data.picture import Picture
from image_utils.io import decode_image, decode_label_map


def encoded_picture(name: str, image: bytes, mask: bytes | Sequence[bytes] | None = None, caption: str = "") -> Picture:
    """Decode a picture and its regions.

    Args:
        name: of the picture, for messages.
        image: a picture file of any common format.
        mask: a label map, or the masks of one object each, which may overlap and where 0 is outside; PNG or TIFF files of the
            picture's size.
        caption: "" where there is none.

    Raises:
        ValueError: if a file is damaged, or a mask has another size than the picture; names which.
    """
    picture = decode_image(image, name)
    return Picture(picture, None if mask is None else _regions(mask, name, picture.size), caption=caption, name=name)


def _regions(mask: bytes | Sequence[bytes], name: str, size: tuple[int, int]) -> Int[Tensor, "h w"] | Bool[Tensor, "m h w"]:
    if isinstance(mask, bytes):
        return _label_map(mask, f"{name} (label map)", size)
    objects = [_label_map(data, f"{name} (mask {number})", size) != 0 for number, data in enumerate(mask)]
    nothing = torch.zeros(size[1], size[0], dtype=torch.bool)
    anything = torch.stack([nothing, *objects])
    return torch.cat([~anything.any(0, keepdim=True), anything[1:]])


def _label_map(data: bytes, name: str, size: tuple[int, int]) -> Int[Tensor, "h w"]:
    label_map = decode_label_map(data, name)
    height, width = label_map.shape
    if (width, height) != size:
        raise ValueError(f"{name} is {width}x{height} pixels but the picture is {size[0]}x{size[1]}; store it at the picture's size")
    return label_map
