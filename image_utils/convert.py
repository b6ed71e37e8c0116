"""Between pictures of 8 bits, numbers in [0, 1] and the house's tensors in [-1, 1]; each function names its range and checks it.

In names, a `picture` is Pillow's, `bytes` are 0..255, `unit` is [0, 1], and `tensor` or `pixel_values` is [-1, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

# How far outside its range a value may lie from rounding, in half precision too.
TOLERANCE = 1e-2


def to_tensor(image: Image.Image) -> Float[Tensor, "3 h w"]:
    """Turn an RGB picture into a float tensor in [-1, 1].

    Example:
        >>> from PIL import Image
        >>> from image_utils.convert import to_tensor
        >>> to_tensor(Image.new("RGB", (4, 2), (255, 0, 0)))[:, 0, 0]
        tensor([ 1., -1., -1.])

    Raises:
        ValueError: if the picture is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"the picture is in mode {image.mode}; convert it with image.convert('RGB') or read it with load_image")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels.float() / 127.5 - 1


def to_pil(pixel_values: Float[Tensor, "3 h w"]) -> Image.Image:
    """Turn a tensor in [-1, 1] into an RGB picture; values outside are clamped, halves round to even.

    Example:
        >>> from image_utils.convert import to_pil
        >>> to_pil(torch.zeros(3, 2, 4)).getpixel((0, 0))
        (128, 128, 128)

    Raises:
        ValueError: if a value is not finite.
    """
    if not torch.isfinite(pixel_values).all():
        raise ValueError("pixel_values holds values that are not finite, so there is no picture to show; look at what computed them")
    pixels = ((pixel_values.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def bytes_to_tensor(pixels: UInt8[np.ndarray, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """Turn an RGB array of 0..255 into a float tensor in [-1, 1], exactly as `to_tensor` does."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 127.5 - 1


def tensor_to_bytes(pixel_values: Float[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Turn a tensor in [-1, 1] into an RGB array of 0..255, exactly as `to_pil` does.

    Raises:
        ValueError: if a value is not finite, or outside [-1, 1] by more than `TOLERANCE`.
    """
    check_range(pixel_values, -1, 1, "pixel_values")
    return np.array(to_pil(pixel_values))


def from_unit(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Turn values in [0, 1] into the same in [-1, 1].

    Example:
        >>> from image_utils.convert import from_unit
        >>> from_unit(torch.tensor([0.0, 0.25, 1.0]))
        tensor([-1.0000, -0.5000,  1.0000])

    Raises:
        ValueError: if a value is not finite, or outside [0, 1] by more than `TOLERANCE`; the remedy names the ranges it might be in.
    """
    check_range(values, 0, 1, "values")
    return values.clamp(0, 1) * 2 - 1


def to_unit(pixel_values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Turn values in [-1, 1] into the same in [0, 1].

    Raises:
        ValueError: if a value is not finite, or outside [-1, 1] by more than `TOLERANCE`.
    """
    check_range(pixel_values, -1, 1, "pixel_values")
    return (pixel_values.clamp(-1, 1) + 1) / 2


def check_range(values: Float[Tensor, "*shape"], low: int | float, high: int | float, name: str) -> None:
    """Judge whether all values lie in [low, high].

    Args:
        values: any number of them, none included.
        low: smallest that is right.
        high: largest that is right.
        name: of the values, for the message.

    Raises:
        ValueError: if a value is not finite, or outside by more than `TOLERANCE` of the range.
    """
    if not values.numel():
        return
    smallest, largest = (float(value) for value in values.detach().float().aminmax())
    slack = TOLERANCE * (high - low)
    if not (low - slack <= smallest and largest <= high + slack):
        raise ValueError(
            f"{name} lies in [{smallest:g}, {largest:g}], not in [{low:g}, {high:g}]; scale it first: [0, 1] becomes [-1, 1] by from_unit, "
            "0..255 by bytes_to_tensor"
        )
