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
