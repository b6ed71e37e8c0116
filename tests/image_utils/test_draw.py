"""Overlays tint the right pixels and put numbers inside their regions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils.draw import overlay_regions, pixel_inside

LABELS = torch.zeros(20, 30, dtype=torch.int64)
LABELS[4:12, 3:15] = 1
LABELS[10:18, 20:28] = 3


def test_background_is_untouched_and_objects_are_tinted():
    picture = Image.new("RGB", (30, 20), (100, 100, 100))
    shown = np.asarray(overlay_regions(picture, LABELS, numbers=False))
    changed = (shown != 100).any(-1)
    assert np.array_equal(changed, (LABELS > 0).numpy())
    assert not np.array_equal(shown[6, 6], shown[14, 24])


def test_label_map_and_masks_look_the_same():
    picture = Image.new("RGB", (30, 20), (100, 100, 100))
    masks = torch.arange(4)[:, None, None] == LABELS
    assert overlay_regions(picture, LABELS).tobytes() == overlay_regions(picture, masks).tobytes()


def test_numbers_are_written_and_the_picture_enlarged():
    picture = Image.new("RGB", (30, 20), (100, 100, 100))
    plain = overlay_regions(picture, LABELS, numbers=False, scale=4)
    assert plain.size == (120, 80)
    assert overlay_regions(picture, LABELS, scale=4).tobytes() != plain.tobytes()


def test_number_of_a_ring_lies_on_the_ring():
    y, x = torch.meshgrid(torch.arange(31), torch.arange(31), indexing="ij")
    radius = ((x - 15) ** 2 + (y - 15) ** 2).float().sqrt()
    ring = (radius > 6) & (radius < 14)
    column, row = pixel_inside(ring)
    assert ring[row, column]


def test_empty_mask_and_wrong_size_are_refused():
    with pytest.raises(ValueError, match="no pixel"):
        pixel_inside(torch.zeros(3, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"30x20.*20x20"):
        overlay_regions(Image.new("RGB", (20, 20)), LABELS)
