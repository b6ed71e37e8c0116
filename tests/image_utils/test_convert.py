"""Eight bits to [-1, 1] and back loses nothing, and values in another range than the named one are refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils.convert import bytes_to_tensor, check_range, from_unit, tensor_to_bytes, to_pil, to_tensor, to_unit


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


def test_bytes_and_pictures_become_the_same_tensor():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tensor = bytes_to_tensor(pixels)
    assert torch.equal(tensor, to_tensor(Image.fromarray(pixels)))
    assert np.array_equal(tensor_to_bytes(tensor), pixels)
    assert torch.allclose(from_unit(torch.from_numpy(pixels).permute(2, 0, 1) / 255), tensor, atol=1e-6)
    assert torch.allclose(to_unit(tensor) * 255, torch.from_numpy(pixels).permute(2, 0, 1).float(), atol=1e-4)


def test_rounding_is_forgiven_and_another_range_is_not():
    assert from_unit(torch.tensor([-0.001, 0.5, 1.001])).tolist() == [-1, 0, 1]
    assert to_unit(torch.tensor([-1.001, 0, 1], dtype=torch.bfloat16)).tolist() == [0, 0.5, 1]
    with pytest.raises(ValueError, match=r"values lies in \[-1, 1\], not in \[0, 1\]"):
        from_unit(torch.tensor([-1.0, 1]))
    with pytest.raises(ValueError, match=r"pixel_values lies in \[0, 255\], not in \[-1, 1\]; .*bytes_to_tensor"):
        to_unit(torch.tensor([0.0, 255]))
    with pytest.raises(ValueError, match=r"\[0, 2\], not in \[-1, 1\]"):
        tensor_to_bytes(torch.arange(3.0)[:, None, None])
    for wrong in (float("nan"), float("inf"), -float("inf")):
        with pytest.raises(ValueError, match="nan|inf"):
            from_unit(torch.tensor([0.5, wrong]))
    check_range(torch.zeros(0), 0, 1, "nothing")
