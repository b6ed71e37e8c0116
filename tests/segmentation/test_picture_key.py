"""A picture's key follows from its pixels and its size, and survives the way through a float picture."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen.segmentation.picture_key import key_seed, picture_key
from image_utils import convert, io


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 999))
@settings(max_examples=40, deadline=None)
def test_a_picture_of_8_bits_keeps_its_key_there_and_back(height, width, seed):
    pixels = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed))
    pixel_values = pixels / 127.5 - 1
    assert picture_key(pixel_values) == picture_key(convert.to_tensor(convert.to_pil(pixel_values)))


def test_every_8_bit_value_counts_and_nothing_finer():
    levels = (torch.arange(256) / 127.5 - 1).expand(3, 1, 256)
    keys = {picture_key(levels[:, :, k : k + 1]) for k in range(256)}
    assert len(keys) == 256
    assert picture_key(levels + 1e-4) == picture_key(levels)


def test_the_size_counts():
    grey = torch.zeros(3, 4, 6)
    assert len({picture_key(grey), picture_key(grey.mT), picture_key(grey.reshape(3, 2, 12))}) == 3


def test_the_key_is_the_same_in_every_version_of_the_program():
    """Golden: caches on disk are found by it."""
    key = picture_key(torch.linspace(-1, 1, 3 * 4 * 5).reshape(3, 4, 5))
    assert key == "ef6b4e474df32bb946babea04d176d26"
    assert key_seed(key) == int(key[:8], 16)


def test_a_photograph_keeps_its_key_on_disk(photographs, tmp_path):
    picture = photographs["coffee"].resize((60, 40))
    io.save_image(picture, tmp_path / "a.png")
    assert picture_key(convert.to_tensor(io.load_image(tmp_path / "a.png"))) == picture_key(convert.to_tensor(picture))


def test_a_picture_with_nan_has_no_key():
    with pytest.raises(ValueError, match="not finite"):
        picture_key(torch.full((3, 2, 2), float("nan")))
