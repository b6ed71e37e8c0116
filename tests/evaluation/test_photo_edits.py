"""Edited photographs: the object that is taken, where it moves to, and what the figures say."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from gen.evaluation.photo_edits import SHOWN_SIDE, edit_photo, photo_sheet, photo_table
from tests.evaluation.toy_pipelines import OwnColour, Painter, toy_pipeline

PHOTO = Image.new("RGB", (64, 32), (200, 200, 200))
PHOTO.paste((200, 0, 0), (4, 10, 14, 20))
PHOTO.paste((0, 0, 200), (40, 0, 64, 32))


@pytest.fixture
def regions() -> torch.Tensor:
    """Return a large object at the border and a small one in the left half, under ids that no pipeline holds."""
    label_map = torch.zeros(32, 64, dtype=torch.long)
    label_map[:, 40:], label_map[10:20, 4:14] = 7, 3000
    return label_map


def test_the_object_inside_the_picture_moves_to_where_there_is_room(regions):
    edits = edit_photo(toy_pipeline(OwnColour(), Painter), "sub/one", PHOTO, regions)
    assert (edits.name, edits.region) == ("sub/one", 2)  # the smaller of two
    _, _, painted, moved, removed = edits.row
    factor = SHOWN_SIDE / 64  # of the rows
    assert painted.getpixel((round(8 * factor), round(15 * factor))) == pytest.approx((200, 0, 0), abs=30)
    beside = (round((9 + 0.3 * 64) * factor), round(15 * factor))
    assert moved.getpixel(beside) == pytest.approx((200, 0, 0), abs=30)  # by 0.3 of the width
    assert removed.getpixel(beside) == pytest.approx((200, 200, 200), abs=30)
    assert (edits.moved_outside, edits.removed_outside) == (0.0, 0.0)
    assert photo_sheet([edits]).height > SHOWN_SIDE / 2
    assert photo_table([edits]).splitlines()[2].startswith(f"| sub/one | {edits.psnr:.1f} | 0 % | 0 % |")


def test_masks_that_overlap_are_edited_as_well(regions):
    masks = torch.stack([regions == 0, regions == 7, regions == 3000])
    masks[1, :, 10:] = True
    edits = edit_photo(toy_pipeline(OwnColour(), Painter), "one", PHOTO, masks)
    assert edits.region == 2
    assert edits.row[3].tobytes() != edits.row[4].tobytes()


def test_more_objects_than_the_pipeline_holds_and_none_at_all():
    stripes = torch.arange(64)[None].expand(32, 64) // 6
    edits = edit_photo(toy_pipeline(OwnColour(), Painter), "one", PHOTO, stripes.contiguous())
    assert 1 <= edits.region <= 5
    with pytest.raises(ValueError, match="one: the picture has no object to edit"):
        edit_photo(toy_pipeline(), "one", PHOTO, torch.zeros(32, 64, dtype=torch.long))
