"""Sheets hold every picture, unchanged, in its cell."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from image_utils.grid import image_grid

RED, BLUE = Image.new("RGB", (8, 6), "red"), Image.new("RGB", (5, 9), "blue")


def count(sheet, colour):
    return int((np.asarray(sheet) == np.array(colour)).all(-1).sum())


def test_every_picture_is_there_enlarged():
    sheet = image_grid([[RED, BLUE], [BLUE]], row_labels=["first", "second"], column_labels=["a", "b"], scale=2)
    assert count(sheet, (255, 0, 0)) == 8 * 6 * 4
    assert count(sheet, (0, 0, 255)) == 2 * 5 * 9 * 4


def test_labels_take_room():
    assert image_grid([[RED]], row_labels=["a long label"]).width > image_grid([[RED]]).width
    assert image_grid([[RED]], column_labels=["a long label"]).height > image_grid([[RED]]).height


def test_labels_must_match():
    with pytest.raises(ValueError, match="2 row labels for 1 rows"):
        image_grid([[RED]], row_labels=["a", "b"])
    with pytest.raises(ValueError, match="no picture"):
        image_grid([[]])


def ink(sheet):
    """Return the rows that hold something darker than paper and the two pictures."""
    pixels = np.asarray(sheet, int)
    return (pixels.max(-1) < 128).any(1).nonzero()[0]


def test_captions_stand_under_their_picture_and_break_into_lines():
    wide = RED.resize((120, 20))
    plain, one = image_grid([[wide]]), image_grid([[wide]], captions=[["a cat"]])
    two = image_grid([[wide]], captions=[["a cat and a dog that sleeps"]])
    assert plain.height < one.height < two.height and plain.width == one.width == two.width
    assert ink(one).min() >= 24 and ink(two).max() - ink(two).min() > ink(one).max() - ink(one).min() + 10
    assert count(two, (255, 0, 0)) == 120 * 20
    long = image_grid([[wide]], captions=[["x" * 200]])
    assert long.width == plain.width and long.height > two.height


def test_rows_below_a_caption_stay_whole():
    sheet = image_grid(
        [[RED.resize((60, 9)), BLUE], [BLUE]], captions=[["three short words", ""], [""]], title="a title of the whole sheet"
    )
    assert count(sheet, (255, 0, 0)) == 60 * 9 and count(sheet, (0, 0, 255)) == 2 * 5 * 9


def test_the_title_stands_above_everything():
    plain, titled = image_grid([[RED.resize((200, 20))]]), image_grid([[RED.resize((200, 20))]], title="a title")
    assert ink(titled).max() < titled.height - 20 and titled.height > plain.height
    assert titled.crop((0, titled.height - plain.height, *titled.size)).tobytes() == plain.tobytes()


def test_captions_must_match():
    with pytest.raises(ValueError, match=r"rows of \[1\] pictures, not \[2\]"):
        image_grid([[RED, BLUE]], captions=[["a"]])
