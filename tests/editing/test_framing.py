"""Pictures of any size fit the square, and come back untouched where nothing changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gen.editing.framing import frame_image, frame_regions, paste_changed, unframe_mask
from gen.regions import Regions
from image_utils.convert import to_pil, to_tensor
from image_utils.geometry import fitted_size

SIDES = st.integers(1, 90)


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_picture_of_the_right_size_is_not_resampled():
    picture = noise(32, 32)
    assert torch.equal(frame_image(picture, 32)[0], to_tensor(picture))
    label_map = torch.randint(0, 4, (32, 32))
    assert torch.equal(frame_regions(label_map, 32, 5).label_map()[0], label_map)


def test_proportions_are_kept_and_the_rest_repeats_the_edge():
    picture = noise(64, 32)
    framed = frame_image(picture, 32)[0]
    assert fitted_size(64, 32, 32) == (32, 16)
    assert torch.equal(framed[:, 16:], framed[:, 15:16].expand(3, 16, 32))


@given(SIDES, SIDES, st.integers(0, 99))
def test_what_did_not_change_is_bit_identical(width, height, seed):
    picture = noise(width, height, seed)
    generator = torch.Generator().manual_seed(seed)
    changed = torch.rand(16, 16, generator=generator) < 0.5
    edited = paste_changed(picture, torch.rand(3, 16, 16, generator=generator), changed)
    keep = ~unframe_mask(changed, picture.size).numpy()
    assert edited.size == picture.size
    assert np.array_equal(np.asarray(edited)[keep], np.asarray(picture)[keep])


def test_all_changed_is_the_edited_picture():
    painted = to_tensor(noise(16, 16, 5))
    assert paste_changed(noise(16, 16), painted, torch.ones(16, 16, dtype=torch.bool)).tobytes() == to_pil(painted).tobytes()
    assert paste_changed(noise(16, 16), painted, None).tobytes() == to_pil(painted).tobytes()


@given(SIDES, SIDES)
def test_no_region_gets_lost(width, height):
    label_map = torch.zeros(height, width, dtype=torch.int64)
    label_map[height // 2, width // 2] = 3
    regions = frame_regions(label_map, 16, 5)
    assert regions.valid[0, 3]
    assert regions.masks[0, 3].any()
    assert not regions.valid[0, [1, 2, 4]].any()


def test_label_map_and_masks_are_framed_alike():
    label_map = torch.zeros(40, 60, dtype=torch.int64)
    label_map[10:30, 20:50] = 2
    first = frame_regions(label_map, 32, 5)
    second = frame_regions(Regions.from_label_map(label_map[None], 3), 32, 5)
    assert torch.equal(first.masks, second.masks)
    assert first.masks[0, 0, -1].all()  # beyond the picture is background


def test_too_many_regions_are_refused():
    label_map = torch.tensor([[0, 7]])
    with pytest.raises(ValueError, match=r"numbered 0\.\.7, but the pipeline holds the background 0 and objects 1\.\.4"):
        frame_regions(label_map, 16, 5)
