"""Pictures and label maps stay together whatever is done to both, and padding is told from picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from image_utils.geometry import (
    centre_square,
    crop_to_square,
    fit_longer_side,
    fitted_size,
    pad_to_square,
    resize_image,
    resize_label_map,
)
from image_utils.palette import colours

COLOURS = np.array(colours(6), dtype=np.uint8)
SIDES = st.integers(1, 12)


def coded(label_map):
    """Return the picture whose colours are the labels."""
    return Image.fromarray(COLOURS[label_map.numpy()])


def decoded(image):
    distances = (np.asarray(image, dtype=int)[:, :, None] - COLOURS.astype(int)).__abs__().sum(-1)
    assert (distances.min(-1) == 0).all(), "a colour that codes no label"
    return torch.from_numpy(distances.argmin(-1))


@st.composite
def label_maps(draw):
    height, width, seed = draw(SIDES), draw(SIDES), draw(st.integers(0, 2**31))
    return torch.randint(0, len(COLOURS), (height, width), generator=torch.Generator().manual_seed(seed))


@st.composite
def boxes(draw, width, height):
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))


@given(st.data(), label_maps())
@settings(deadline=None)
def test_a_cropped_picture_has_the_cropped_labels(data, label_map):
    height, width = label_map.shape
    left, top, right, bottom = box = data.draw(boxes(width, height))
    size = (right - left, bottom - top)
    labels = resize_label_map(label_map, size, box)
    assert torch.equal(labels, label_map[top:bottom, left:right])
    assert torch.equal(decoded(resize_image(coded(label_map), size, box)), labels)


@given(label_maps(), st.sampled_from([1, 3, 5]), st.booleans(), st.integers(0, 3))
@settings(deadline=None)
def test_an_enlarged_flipped_and_turned_picture_has_the_labels_treated_likewise(label_map, factor, flip, turns):
    size = (label_map.shape[1] * factor, label_map.shape[0] * factor)
    image, labels = resize_image(coded(label_map), size), resize_label_map(label_map, size)
    assert torch.equal(labels, label_map.repeat_interleave(factor, 0).repeat_interleave(factor, 1))
    if flip:
        image, labels = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), labels.flip(1)
    image, labels = image.rotate(90 * turns, expand=True), torch.rot90(labels, turns)
    # Lanczos' filter runs through the old pixels at their centres, and only there is a colour pure.
    centres = np.asarray(image)[factor // 2 :: factor, factor // 2 :: factor]
    assert torch.equal(decoded(Image.fromarray(centres)), labels[factor // 2 :: factor, factor // 2 :: factor])
    assert torch.equal(resize_label_map(labels, (labels.shape[1] // factor, labels.shape[0] // factor)), decoded(Image.fromarray(centres)))


@given(st.data(), st.integers(1, 60), st.integers(1, 60), st.integers(8, 200), st.integers(8, 200))
@settings(deadline=None)
def test_any_box_at_any_size_keeps_positions(data, out_width, out_height, width, height):
    """In a picture whose brightness is the pixel's column or row, a resampled pixel shows where it came from."""
    box = data.draw(boxes(width, height))
    for axis, (length, out) in enumerate([(box[3] - box[1], out_height), (box[2] - box[0], out_width)]):
        positions = torch.arange((height, width)[axis]).view((-1, 1) if axis == 0 else (1, -1)).expand(height, width)
        labels = resize_label_map(positions, (out_width, out_height), box)
        image = resize_image(Image.fromarray(positions.numpy().astype(np.float32)), (out_width, out_height), box)
        reach = 4 * max(1, out / length)  # where the filter is cut off by the box, its mean moves inwards
        inner = slice(int(reach), out - int(reach))
        shown = torch.from_numpy(np.asarray(image).copy()).movedim(axis, 0)[inner]
        assert ((shown - labels.movedim(axis, 0)[inner]).abs() <= 0.75).all()


@given(st.data(), label_maps(), SIDES, SIDES)
@settings(deadline=None)
def test_masks_are_resized_like_the_label_map_and_both_like_pillow(data, label_map, width, height):
    box = data.draw(boxes(label_map.shape[1], label_map.shape[0]))
    labels = resize_label_map(label_map, (width, height), box)
    masks = resize_label_map(torch.arange(6)[:, None, None] == label_map, (width, height), box)
    assert torch.equal(masks, torch.arange(6)[:, None, None] == labels)
    nearest = Image.fromarray(label_map.numpy().astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST, box=box)
    rows = (2 * np.arange(height) + 1) * (box[3] - box[1]) % (2 * height) > 0  # between two pixels, Pillow's rounding errors decide
    columns = (2 * np.arange(width) + 1) * (box[2] - box[0]) % (2 * width) > 0
    assert np.array_equal(np.asarray(nearest)[rows][:, columns], labels.numpy()[rows][:, columns])


def test_squares_and_sizes():
    assert centre_square(7, 4) == (1, 0, 5, 4)
    assert centre_square(4, 7) == (0, 1, 4, 5)
    assert fitted_size(640, 480, 64) == (64, 48)
    assert fitted_size(3, 3000, 100) == (1, 100)


def test_picture_and_regions_are_framed_together():
    label_map = torch.arange(6).view(2, 3).repeat_interleave(20, 0).repeat_interleave(20, 1)  # 60 wide, 40 high
    image, labels = crop_to_square(coded(label_map), label_map, 40)
    assert torch.equal(decoded(image), labels) and torch.equal(labels, label_map[:, 10:50])
    image, labels = fit_longer_side(coded(label_map), label_map, 30)
    assert image.size == (30, 20) and torch.equal(labels[::10, ::10], torch.arange(6).view(2, 3))
    assert torch.equal(decoded(Image.fromarray(np.asarray(image)[5::10, 5::10])), torch.arange(6).view(2, 3))
    with pytest.raises(ValueError, match=r"regions are 3x2 pixels but the picture is 60x40"):
        crop_to_square(coded(label_map), torch.zeros(2, 3, dtype=torch.long), 8)


def test_reduction_averages_instead_of_picking():
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    small = np.asarray(resize_image(Image.fromarray(board), (16, 16)))
    assert np.abs(small[2:-2, 2:-2].astype(int) - 127).max() <= 2


@given(SIDES, SIDES, st.integers(12, 16))
@settings(deadline=None)
def test_padding_repeats_the_border_and_is_marked(height, width, side):
    pixel_values = torch.rand(3, height, width)
    square, padding = pad_to_square(pixel_values, side)
    assert torch.equal(square[:, :height, :width], pixel_values)
    assert (~padding).nonzero().tolist() == [[y, x] for y in range(height) for x in range(width)]
    rows, columns = torch.arange(side).clamp(max=height - 1), torch.arange(side).clamp(max=width - 1)
    assert torch.equal(square, pixel_values[:, rows[:, None], columns])


def test_what_cannot_be_framed_is_refused():
    image = Image.new("RGB", (4, 3))
    with pytest.raises(ValueError, match="does not fit in a square of side 3"):
        pad_to_square(torch.zeros(3, 3, 4), 3)
    with pytest.raises(ValueError, match=r"\(0, 0, 5, 3\) is empty or leaves the picture of 4x3"):
        resize_image(image, (2, 2), (0, 0, 5, 3))
    with pytest.raises(ValueError, match=r"\(2, 0, 2, 3\) is empty"):
        resize_label_map(torch.zeros(3, 4, dtype=torch.long), (2, 2), (2, 0, 2, 3))
    with pytest.raises(ValueError, match="0x2 pixels is no picture"):
        resize_image(image, (0, 2))
    with pytest.raises(ValueError, match="mode P cannot be averaged"):
        resize_image(image.convert("P"), (2, 2))
