"""The name that a picture has from its content alone: what cached masks are found by, and what seeds a random choice of them."""

from __future__ import annotations

import hashlib

from jaxtyping import Float
from torch import Tensor

from image_utils import convert


def picture_key(pixel_values: Float[Tensor, "3 h w"]) -> str:
    """Return 32 hexadecimal digits: blake2b, 16 bytes, over height, width and the 8-bit RGB pixels.

    Args:
        pixel_values: in [-1, 1]; a picture of 8 bits keeps its key through `image_utils.convert`, there and back.

    Raises:
        ValueError: if a value is not finite.
    """
    image = convert.to_pil(pixel_values)
    digest = hashlib.blake2b(image.height.to_bytes(4, "big") + image.width.to_bytes(4, "big"), digest_size=16)
    digest.update(image.tobytes())
    return digest.hexdigest()


def key_seed(key: str) -> int:
    """Return the seed that belongs to a picture's key, in [0, 2^32)."""
    return int(key[:8], 16)
