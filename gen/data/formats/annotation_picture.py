"""Read the pictures in which data sets keep their annotations: a code for every pixel of the picture that they belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from PIL import Image
from torch import Tensor

from image_utils import io


def read_labels(path: Path, image: Image.Image) -> Int[Tensor, "h w"]:
    """Read a grey or palette PNG whose labels belong to `image`.

    Raises:
        ValueError: if the file is damaged, in colours, or of another size than `image`.
    """
    return _of_size(io.load_label_map(path), image, path)


def read_colours(path: Path, image: Image.Image) -> Int[Tensor, "h w 3"]:
    """Read a PNG whose red, green and blue, 0..255, are codes that belong to `image`.

    Raises:
        ValueError: if the file is damaged, or of another size than `image`.
    """
    return _of_size(torch.from_numpy(np.asarray(io.load_image(path)).astype(np.int64)), image, path)


def _of_size(codes: Tensor, image: Image.Image, path: Path) -> Tensor:
    height, width = codes.shape[:2]
    if (width, height) != image.size:
        raise ValueError(
            f"annotation {path} is {width}x{height} pixels but its picture is {image.width}x{image.height}; unpack both again, unresized"
        )
    return codes
