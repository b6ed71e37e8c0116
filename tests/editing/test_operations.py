"""Edits mean what they say: algebra that must hold for any latents, and refusals that name the remedy."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.editing import operations as op

SEEDS = st.integers(0, 1000)
SHIFTS = st.floats(-0.19, 0.19)
DEGREES = st.floats(-720, 720)


def assert_same(first, second, tolerance=0.0):
    torch.testing.assert_close(first.tokens, second.tokens, rtol=0, atol=tolerance)
    assert torch.equal(first.valid, second.valid)
    for field in fields(first.pose):
        a, b = getattr(first.pose, field.name), getattr(second.pose, field.name)
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=0, atol=tolerance)


def others_equal(first, second, *edited):
    kept = [k for k in range(first.valid.shape[1]) if k not in edited]
    pairs = [(first.tokens, second.tokens), (first.valid, second.valid)]
    pairs += [(getattr(first.pose, name), getattr(second.pose, name)) for name in ("centre", "size", "flip", "angle")]
    return all(torch.equal(a[:, kept], b[:, kept]) for a, b in pairs)


@given(SEEDS)
def test_doing_nothing_is_the_identity(make_latents, seed):
    latents = make_latents(seed, batch_size=2)
    assert_same(op.move(latents, 1, 0.0, 0.0), latents)
    assert_same(op.resize(latents, 1, 1.0), latents)
    assert_same(op.rotate(latents, 1, 0.0), latents)
    assert_same(op.rotate(latents, 1, 360.0), latents)
    assert_same(op.interpolate(latents, 1, latents, 1, 0.5), latents, tolerance=1e-6)


@given(SEEDS, SHIFTS, SHIFTS)
def test_move_there_and_back(make_latents, seed, dx, dy):
    latents = make_latents(seed, batch_size=2)
    moved = op.move(latents, 2, dx, dy)
    expected = latents.pose.centre[:, 2] + torch.tensor([dx, dy])
    torch.testing.assert_close(moved.pose.centre[:, 2], expected)
    assert others_equal(moved, latents, 2)
    assert_same(op.move(moved, 2, -dx, -dy), latents, tolerance=1e-6)


@given(SEEDS, DEGREES)
def test_turn_there_and_back(make_latents, seed, degrees):
    latents = make_latents(seed, batch_size=2)
    turned = op.turn(latents, 2, degrees)
    sin = math.sin(math.radians(degrees)) * (1 - 2 * latents.pose.flip[:, 2])  # the pose turns before it mirrors
    expected = torch.stack([sin, torch.full_like(sin, math.cos(math.radians(degrees)))], -1)
    torch.testing.assert_close(turned.pose.yaw[:, 2], expected, atol=1e-5, rtol=0)
    assert others_equal(turned, latents, 2)
    assert turned.pose.yaw[:, [0, 1]].isnan().all()  # of the others nothing is said
    back = op.turn(turned, 2, -degrees)
    torch.testing.assert_close(back.pose.yaw[:, 2], torch.tensor([0.0, 1.0]).expand(2, -1), atol=1e-5, rtol=0)


@given(SEEDS, DEGREES)
def test_what_is_shown_turns_the_same_way_after_a_flip(make_latents, seed, degrees):
    """With the pose A = F R(yaw), turning what is shown by t is R(t) F R(yaw) = F R(yaw - t)."""
    turned = op.turn(op.flip(make_latents(seed), 1), 1, degrees)
    opposite = op.flip(op.turn(make_latents(seed), 1, -degrees), 1)
    torch.testing.assert_close(turned.pose.yaw[:, 1], opposite.pose.yaw[:, 1], atol=1e-5, rtol=0)


def test_an_inserted_object_is_not_turned_by_what_was_in_its_slot(make_latents):
    latents = op.remove(op.turn(make_latents(0), 1, 90.0), 1)
    inserted = op.insert(latents, make_latents(1), 2)
    assert op.free_slot(latents) == 1
    assert inserted.pose.yaw[:, 1].isnan().all()
    turned = op.insert(op.remove(make_latents(0), 1), op.turn(make_latents(1), 2, 90.0), 2)
    torch.testing.assert_close(turned.pose.yaw[:, 1], torch.tensor([[1.0, 0.0]]), atol=1e-6, rtol=0)
    assert turned.pose.yaw[:, 2].isnan().all()


def test_a_whole_interpolation_takes_the_turn_as_well(make_latents):
    plain, turned = make_latents(0), op.turn(make_latents(1), 1, 90.0)
    assert torch.equal(op.interpolate(plain, 1, turned, 1, 1.0).pose.yaw[:, 1], turned.pose.yaw[:, 1])
    assert op.interpolate(turned, 1, plain, 1, 1.0).pose.yaw[:, 1].isnan().all()
    assert torch.equal(op.interpolate(turned, 1, plain, 1, 0.0).pose.yaw[:, 1], turned.pose.yaw[:, 1])


@given(SEEDS, st.floats(0.2, 2.0), st.floats(0.2, 2.0))
def test_resize_there_and_back(make_latents, seed, fx, fy):
    latents = make_latents(seed)
    resized = op.resize(latents, 1, (fx, fy))
    torch.testing.assert_close(resized.pose.size[:, 1], latents.pose.size[:, 1] * torch.tensor([fx, fy]))
    assert torch.equal(resized.pose.centre, latents.pose.centre)
    assert_same(op.resize(resized, 1, (1 / fx, 1 / fy)), latents, tolerance=1e-6)


@given(SEEDS)
def test_flip_twice_is_the_identity(make_latents, seed):
    latents = make_latents(seed, batch_size=2)
    flipped = op.flip(latents, 3)
    assert torch.equal(flipped.pose.flip[:, 3], 1 - latents.pose.flip[:, 3])
    assert others_equal(flipped, latents, 3)
    assert_same(op.flip(flipped, 3), latents)


@given(SEEDS, DEGREES, DEGREES)
def test_turns_add_up(make_latents, seed, first, second):
    latents = make_latents(seed)
    assert_same(op.rotate(op.rotate(latents, 1, first), 1, second), op.rotate(latents, 1, first + second), tolerance=1e-5)


@given(SEEDS, DEGREES)
def test_a_mirror_reverses_turns(make_latents, seed, degrees):
    latents = make_latents(seed)
    assert_same(op.flip(op.rotate(latents, 1, degrees), 1), op.rotate(op.flip(latents, 1), 1, -degrees), tolerance=1e-5)


def test_flip_mirrors_what_is_seen_on_the_screen(make_latents):
    latents = op.rotate(make_latents(4), 1, 25.0)
    flipped = op.flip(latents, 1)
    centre = latents.pose.centre[0, 1]
    points = torch.rand(50, 2)
    mirrored = torch.stack([2 * centre[0] - points[:, 0], points[:, 1]], -1)
    torch.testing.assert_close(
        latents.pose.own_coordinates(points)[0, 1], flipped.pose.own_coordinates(mirrored)[0, 1], atol=1e-4, rtol=1e-4
    )


def test_a_quarter_turn_is_clockwise_on_the_screen(make_latents):
    latents = make_latents(0)
    latents = replace(latents, pose=replace(latents.pose, flip=torch.zeros(1, 6), angle=torch.tensor([0.0, 1.0]).expand(1, 6, 2)))
    turned = op.rotate(latents, 1, 90.0)
    below = turned.pose.centre[0, 1] + torch.tensor([0.0, 0.1])
    own = turned.pose.own_coordinates(below[None])[0, 1, 0]
    assert own[0] > 0  # what was to the right of the centre is now below it
    assert abs(float(own[1])) < 1e-5


@given(SEEDS)
def test_swap_trades_places_and_twice_is_the_identity(make_latents, seed):
    latents = make_latents(seed, batch_size=2)
    swapped = op.swap(latents, 1, 3)
    assert torch.equal(swapped.pose.centre[:, 1], latents.pose.centre[:, 3])
    assert torch.equal(swapped.pose.centre[:, 3], latents.pose.centre[:, 1])
    assert torch.equal(swapped.tokens, latents.tokens)
    assert torch.equal(swapped.pose.size, latents.pose.size)
    assert_same(op.swap(swapped, 1, 3), latents)
    assert_same(op.swap(latents, 3, 1), swapped)


def test_remove_clears_valid_and_nothing_else(make_latents):
    latents = make_latents(0, batch_size=2)
    removed = op.remove(latents, 2)
    assert op.regions_present(removed) == [1, 3]
    assert torch.equal(removed.tokens, latents.tokens)
    with pytest.raises(ValueError, match="region 2 is not in the picture; choose one of 1, 3"):
        op.move(removed, 2, 0.1, 0.1)


@given(SEEDS, SHIFTS, SHIFTS)
def test_copy_is_the_object_moved(make_latents, seed, dx, dy):
    latents = make_latents(seed)
    copied = op.copy(latents, 2, dx, dy)
    assert op.regions_present(copied) == [1, 2, 3, 4]
    assert torch.equal(copied.tokens[:, 4], latents.tokens[:, 2])
    moved = op.move(latents, 2, dx, dy).pose
    for name in ("centre", "size", "flip", "angle"):
        assert torch.equal(getattr(copied.pose, name)[:, 4], getattr(moved, name)[:, 2])
    assert others_equal(copied, latents, 4)


def test_insert_brings_the_other_pictures_object(make_latents):
    latents, other = make_latents(0), make_latents(1, objects=(1, 5))
    inserted = op.insert(latents, other, 5, (0.25, 0.75))
    assert torch.equal(inserted.tokens[:, 4], other.tokens[:, 5])
    assert torch.equal(inserted.pose.size[:, 4], other.pose.size[:, 5])
    assert inserted.pose.centre[0, 4].tolist() == [0.25, 0.75]
    assert others_equal(inserted, latents, 4)
    assert torch.equal(op.insert(latents, other, 5).pose.centre[:, 4], other.pose.centre[:, 5])
    assert_same(op.remove(inserted, 4), replace(inserted, valid=latents.valid))


@given(SEEDS, SEEDS)
def test_interpolation_ends_at_its_ends(make_latents, seed, other_seed):
    latents, other = make_latents(seed, batch_size=2), make_latents(other_seed + 2000, batch_size=2)
    assert_same(op.interpolate(latents, 1, other, 2, 0.0), latents)
    end = op.interpolate(latents, 1, other, 2, 1.0)
    assert torch.equal(end.tokens[:, 1], other.tokens[:, 2])
    for name in ("centre", "size", "flip", "angle"):
        assert torch.equal(getattr(end.pose, name)[:, 1], getattr(other.pose, name)[:, 2])
    assert others_equal(end, latents, 1)


@given(SEEDS, st.floats(0, 1))
def test_look_and_pose_mix_apart_and_together_are_both(make_latents, seed, weight):
    latents, other = make_latents(seed), make_latents(seed + 2000)
    look, pose = (op.interpolate(latents, 1, other, 2, weight, what) for what in ("look", "pose"))
    assert look.pose is latents.pose
    assert pose.tokens is latents.tokens
    assert_same(replace(pose, tokens=look.tokens), op.interpolate(latents, 1, other, 2, weight))


@given(st.floats(-179, 179), st.floats(-170, 170), st.floats(0, 1))
def test_angles_take_the_shorter_arc(make_latents, start, turn, weight):
    latents = make_latents(0)
    latents = replace(latents, pose=replace(latents.pose, angle=torch.tensor([0.0, 1.0]).expand(1, 6, 2)))
    first, second = op.rotate(latents, 1, start), op.rotate(latents, 1, start + turn)
    between = op.interpolate(first, 1, second, 1, weight)
    assert_same(between, op.rotate(latents, 1, start + weight * turn), tolerance=1e-5)
    assert math.isclose(float(between.pose.angle[0, 1].norm()), 1.0, abs_tol=1e-5)


def test_inputs_are_never_changed(make_latents):
    latents, other = make_latents(0), make_latents(1)
    before = latents._map(torch.clone)
    op.move(latents, 1, 0.1, 0.1), op.resize(latents, 1, 0.5), op.flip(latents, 1), op.rotate(latents, 1, 30.0)
    op.remove(latents, 1), op.swap(latents, 1, 2), op.copy(latents, 1, 0.0, 0.0), op.insert(latents, other, 1)
    op.interpolate(latents, 1, other, 2, 0.5)
    assert_same(latents, before)


def test_depth_goes_with_the_place(make_latents):
    latents = make_latents(0)
    latents = replace(latents, pose=replace(latents.pose, depth=torch.arange(6.0)[None]))
    assert op.swap(latents, 1, 3).pose.depth.tolist() == [[0, 3, 2, 1, 4, 5]]
    assert op.copy(latents, 2, 0.0, 0.0).pose.depth[0, 4] == 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda z: op.move(z, 7, 0.0, 0.0), "region 7 is not in the picture; choose one of 1, 2, 3"),
        (lambda z: op.move(z, -1, 0.0, 0.0), "region -1 is not in the picture"),
        (lambda z: op.flip(z, 4), "region 4 is not in the picture"),
        (lambda z: op.remove(z, 0), "region 0 is the background of the picture and cannot be edited; choose one of 1, 2, 3"),
        (lambda z: op.move(z, 1, 2.0, 0.0), r"region 1 would have its centre at .*outside the picture; keep it within \[0, 1\]"),
        (lambda z: op.move(z, 1, math.nan, 0.0), "dx=nan is not a finite number"),
        (lambda z: op.rotate(z, 1, math.inf), "degrees=inf is not a finite number"),
        (lambda z: op.resize(z, 1, 0.0), "factor 0.0 of region 1 is not positive"),
        (lambda z: op.resize(z, 1, (1.0, -2.0)), "factor -2.0 of region 1 is not positive"),
        (lambda z: op.resize(z, 1, 100.0), "more than 1.5; use a smaller factor"),
        (lambda z: op.swap(z, 2, 2), "region 2 and itself"),
        (lambda z: op.swap(z, 1, 5), "region 5 is not in the picture"),
        (lambda z: op.copy(z, 1, 1.0, 1.0), "outside the picture"),
        (lambda z: op.insert(z, z, 5), "region 5 is not in the picture to insert from"),
        (lambda z: op.insert(z, z, 1, (0.5, 1.5)), "region 1, inserted, would have its centre at .*outside the picture"),
        (lambda z: op.interpolate(z, 1, z, 2, 1.5), r"weight 1.5 is outside \[0, 1\]"),
        (lambda z: op.interpolate(z, 1, z, 2, 0.5, "colour"), "'colour'; what can be mixed is both, look, pose"),
        (lambda z: op.interpolate(z, 1, replace(z, tokens=z.tokens[..., :1]), 2, 0.5), "do not fit"),
        (lambda z: op.interpolate(z, 1, z[[0, 0]], 2, 0.5), "batches of 1 and 2"),
    ],
)
def test_refusals_name_value_and_remedy(make_latents, edit, message):
    with pytest.raises(ValueError, match=message):
        edit(make_latents(0))


def test_no_free_slot(make_latents):
    latents = make_latents(0, objects=(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="all 5 objects .* remove one first"):
        op.copy(latents, 1, 0.0, 0.0)
    assert op.regions_present(op.copy(op.remove(latents, 3), 1, 0.0, 0.0)) == [1, 2, 3, 4, 5]


def test_a_region_must_be_there_in_the_whole_batch(make_latents):
    latents = make_latents(0, batch_size=2)
    latents.valid[1, 2] = False
    with pytest.raises(ValueError, match="choose one of 1, 3"):
        op.flip(latents, 2)
