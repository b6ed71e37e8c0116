"""Eight bits to [-1, 1] and back loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils.convert import to_pil, to_tensor


def test_every_value_survives_the_round_trip():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    picture = Image.fromarray(np.stack([pixels, pixels.T, pixels[::-1]], -1))
    assert np.array_equal(np.asarray(to_pil(to_tensor(picture))), np.asarray(picture))


def test_range_and_channel_order():
    tensor = to_tensor(Image.new("RGB", (3, 2), (255, 0, 0)))
    assert tensor.shape == (3, 2, 3)
    assert tensor[:, 0, 0].tolist() == [1.0, -1.0, -1.0]


def test_values_outside_are_clamped():
    assert to_pil(torch.tensor([-3.0, 0.0, 3.0]).view(3, 1, 1)).getpixel((0, 0)) == (0, 128, 255)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ValueError, match="not finite"):
        to_pil(torch.full((3, 2, 2), float("nan")))
    with pytest.raises(ValueError, match="mode L"):
        to_tensor(Image.new("L", (2, 2)))
