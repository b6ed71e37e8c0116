"""Between pictures of 8 bits and tensors in [-1, 1], exactly there and back."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor


def to_tensor(image: Image.Image) -> Float[Tensor, "3 h w"]:
    """Turn an RGB picture into a float tensor in [-1, 1].

    Raises:
        ValueError: if the picture is not RGB.
    """
    if image.mode != "RGB":
        raise ValueError(f"the picture is in mode {image.mode}; convert it with image.convert('RGB') or read it with load_image")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    return pixels.float() / 127.5 - 1


def to_pil(pixel_values: Float[Tensor, "3 h w"]) -> Image.Image:
    """Turn a tensor in [-1, 1] into an RGB picture; values outside are clamped, halves round to even.

    Raises:
        ValueError: if a value is not finite.
    """
    if not torch.isfinite(pixel_values).all():
        raise ValueError("pixel_values holds values that are not finite, so there is no picture to show; look at what computed them")
    pixels = ((pixel_values.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte()
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
