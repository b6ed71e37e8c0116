"""A real, toy-size pipeline edits pictures: the rest stays, a seed repeats, refusals come early."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from gen.editing.editor import CutImage, edit_image, edit_pixels, rehearse
from gen.editing.operations import regions_present
from gen.editing.plan import EditPlan, Flip, Insert, Move, Remove
from gen.regions import Regions
from image_utils.convert import to_tensor

MOVE = EditPlan((Move(2, 0.1, -0.2),), num_inference_steps=2)


def differs(first, second):
    return (np.asarray(first) != np.asarray(second)).any(-1)


@pytest.mark.parametrize("size", [(32, 32), (70, 45), (20, 31)])
def test_untouched_pixels_are_bit_identical(pipeline, make_picture, size):
    image, label_map = make_picture(*size)
    result = edit_image(pipeline, image, label_map, MOVE)
    assert result.image.size == image.size
    changed = result.changed.numpy()
    assert not (differs(result.image, image) & ~changed).any()
    assert differs(result.image, image)[changed].mean() > 0.5
    assert changed[(label_map == 2).numpy()].all()
    assert not changed.all()


def test_without_compositing_the_whole_picture_is_the_models(pipeline, make_picture):
    image, label_map = make_picture()
    plan = EditPlan(MOVE.edits, num_inference_steps=2, composite=False)
    result = edit_image(pipeline, image, label_map, plan)
    assert differs(result.image, image)[~result.changed.numpy()].mean() > 0.5


def test_a_seed_repeats_and_another_differs(pipeline, make_picture):
    image, label_map = make_picture()
    first, again = edit_image(pipeline, image, label_map, MOVE), edit_image(pipeline, image, label_map, MOVE)
    assert first.image.tobytes() == again.image.tobytes()
    other = edit_image(pipeline, image, label_map, EditPlan(MOVE.edits, seed=1, num_inference_steps=2))
    assert other.image.tobytes() != first.image.tobytes()


def test_an_empty_plan_returns_the_picture(pipeline, make_picture):
    image, label_map = make_picture(50, 40)
    result = edit_image(pipeline, image, label_map, EditPlan(num_inference_steps=1))
    assert result.image.tobytes() == image.tobytes()
    assert not result.changed.any()


def test_insert_takes_from_another_picture(pipeline, make_picture):
    image, label_map = make_picture()
    other, other_map = make_picture(48, 48)
    plan = EditPlan((Insert("other", 1, 0.8, 0.2),), num_inference_steps=1)
    result = edit_image(pipeline, image, label_map, plan, {"other": CutImage(other, other_map)})
    assert regions_present(result.latents) == [1, 2, 3]
    assert result.latents.pose.centre[0, 3].tolist() == pytest.approx([0.8, 0.2])
    assert result.changed[6, 25]


def test_batches_at_the_models_resolution(pipeline, make_picture):
    image, label_map = make_picture()
    pixel_values, regions = to_tensor(image)[None], Regions.from_label_map(label_map[None], 5)
    single = edit_pixels(pipeline, pixel_values, regions, MOVE)
    pair = edit_pixels(pipeline, pixel_values.repeat(2, 1, 1, 1), regions[[0, 0]], MOVE)
    assert torch.equal(single.changed[0], pair.changed[0])
    keep = ~pair.changed[:, None].expand_as(pair.pixel_values)
    assert torch.equal(pair.pixel_values[keep], pixel_values.repeat(2, 1, 1, 1)[keep])
    whole = edit_image(pipeline, image, label_map, MOVE).image
    difference = np.abs(np.asarray(whole).astype(int) - ((single.pixel_values[0].permute(1, 2, 0).numpy() + 1) * 127.5))
    assert difference.max() <= 1.01  # the same picture, but for rounding to 8 bits


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (EditPlan((Flip(4),)), r"edit 1 \(flip\): region 4 is not in the picture; choose one of 1, 2"),
        (EditPlan((Remove(1), Move(2, 0.9, 0.0))), r"edit 2 \(move\): region 2 would have its centre at"),
    ],
)
def test_rehearsal_refuses_what_the_editor_would(pipeline, make_picture, plan, message):
    image, label_map = make_picture()
    with pytest.raises(ValueError, match=message):
        rehearse(plan, CutImage(image, label_map), {}, num_regions=5)
    with pytest.raises(ValueError, match=message):
        edit_image(pipeline, image, label_map, plan)


def test_beyond_a_wide_picture_is_outside(pipeline, make_picture):
    image, label_map = make_picture(64, 32)
    plan = EditPlan((Move(2, 0.0, 0.3),))
    with pytest.raises(ValueError, match=r"region 2 .* outside the picture; .* y within \[0, 0.500\]"):
        rehearse(plan, CutImage(image, label_map), {}, num_regions=5)
    rehearse(plan, CutImage(image.transpose(Image.Transpose.TRANSPOSE), label_map.T), {}, num_regions=5)  # higher than wide: there it fits


def test_regions_of_another_size_are_refused(pipeline, make_picture):
    image, label_map = make_picture()
    with pytest.raises(ValueError, match="the regions are 32x30 pixels, but the picture is 32x32"):
        edit_image(pipeline, image, label_map[:30], MOVE)
