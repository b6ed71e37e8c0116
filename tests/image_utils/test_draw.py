"""Overlays tint, outline and frame the right pixels, put numbers inside their regions, and heat where the values are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from image_utils import palette
from image_utils.draw import HEAT_COLOURS, outline_regions, overlay_boxes, overlay_heat, overlay_regions, pixel_inside
from image_utils.palette import colours

LABELS = torch.zeros(20, 30, dtype=torch.int64)
LABELS[4:12, 3:15] = 1
LABELS[10:18, 20:28] = 3
GREY = Image.new("RGB", (30, 20), (100, 100, 100))


def is_colour(shown, colour):
    return (np.asarray(shown) == np.array(colour)).all(-1)


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


def test_objects_with_large_ids_are_shown_at_once():
    """Ids in data sets go up to 2^24 and more; nothing as long as that is made."""
    labels = torch.where(LABELS == 3, 2**40, LABELS)
    shown = overlay_regions(GREY, labels, numbers=False)
    assert is_colour(shown, palette.colour(2**40))[10, 20:28].all()
    assert np.array_equal((np.asarray(shown) != 100).any(-1), (LABELS > 0).numpy())


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


def test_outlines_leave_the_inside_and_run_along_the_picture_edge():
    labels = LABELS.clone()
    labels[:, 29] = 5
    shown = outline_regions(GREY, labels, numbers=False)
    inside = np.zeros((20, 30), bool)
    inside[5:11, 4:14] = inside[11:17, 21:27] = True
    assert np.array_equal((np.asarray(shown) != 100).any(-1), (labels.numpy() > 0) & ~inside)
    assert is_colour(shown, colours(6)[5])[:, 29].all()
    assert outline_regions(GREY, labels, scale=4).tobytes() != outline_regions(GREY, labels, numbers=False, scale=4).tobytes()


def test_outlines_of_large_pictures_are_wider():
    labels = torch.zeros(900, 900, dtype=torch.int64)
    labels[300:600, 300:600] = 1
    shown = outline_regions(Image.new("RGB", (900, 900), (100, 100, 100)), labels, numbers=False)
    assert is_colour(shown, colours(2)[1])[450].nonzero()[0].tolist() == [300, 301, 302, 597, 598, 599]


def test_boxes_frame_exactly_their_pixels():
    boxes = torch.tensor([[3, 4, 15, 12], [20, 10, 28, 18]])
    shown = overlay_boxes(GREY, boxes)
    for (left, top, right, bottom), colour in zip(boxes.tolist(), colours(2), strict=True):
        frame = np.zeros((20, 30), bool)
        frame[top:bottom, left:right] = True
        frame[top + 1 : bottom - 1, left + 1 : right - 1] = False
        assert np.array_equal(is_colour(shown, colour), frame)
    assert overlay_boxes(GREY, boxes.float()).tobytes() == shown.tobytes()
    assert overlay_boxes(GREY, boxes[:0]).tobytes() == GREY.tobytes()
    assert is_colour(overlay_boxes(GREY, boxes, scale=3), colours(1)[0]).nonzero()[0].min() == 12


def test_captions_stand_above_their_box_or_inside_at_the_upper_edge():
    picture = Image.new("RGB", (200, 200), (100, 100, 100))
    boxes = torch.tensor([[50.0, 100, 150, 150], [20, 0, 180, 60]])
    changed = is_colour(overlay_boxes(picture, boxes), (100, 100, 100)) & ~is_colour(
        overlay_boxes(picture, boxes, ["cat", "dog"]), (100, 100, 100)
    )
    rows, columns = changed.nonzero()
    lower = rows > 60
    assert rows[lower].min() >= 80 and rows[lower].max() < 100 and columns[lower].min() == 50
    assert rows[~lower].max() < 25 and columns[~lower].min() >= 20
    right = overlay_boxes(picture, torch.tensor([[190, 100, 200, 150]]), ["a caption that is long"])
    assert right.size == (200, 200) and not is_colour(right, (100, 100, 100))[88:98, 80:190].all(-1).any()


def test_heat_lies_where_the_values_are():
    values = torch.zeros(2, 3)
    values[1, 2] = 4
    shown = np.asarray(overlay_heat(GREY, values, low=0, high=4), int)
    for colour, (x, y) in ((HEAT_COLOURS[0], (2, 2)), (HEAT_COLOURS[-1], (28, 18))):
        assert np.abs(shown[y, x] - (0.4 * 100 + 0.6 * np.array(colour))).max() <= 1
    brightness = overlay_heat(GREY, torch.linspace(0, 1, 30)[None].expand(20, 30), 0, 1).convert("L")
    assert (np.diff(np.asarray(brightness, int)[0]) >= 0).all()


def test_boxes_captions_and_heat_are_checked():
    with pytest.raises(ValueError, match="1 captions for 2 boxes"):
        overlay_boxes(GREY, torch.zeros(2, 4), ["a"])
    with pytest.raises(ValueError, match=r"box 0 is \(5, 5, 2, 9\), which ends before"):
        overlay_boxes(GREY, torch.tensor([[5, 5, 2, 9]]))
    with pytest.raises(ValueError, match=r"values lies in \[0, 2\], not in \[0, 1\]"):
        overlay_heat(GREY, torch.tensor([[0.0, 2]]), 0, 1)
    with pytest.raises(ValueError, match="low=1 is not below high=1"):
        overlay_heat(GREY, torch.ones(2, 2), 1, 1)
