"""The changed area holds all that an edit may change; compositing keeps the rest bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.editing import operations as op
from gen.editing.preserve import changed_area, composite, feather_weights
from gen.regions import RegionLatents, RegionPose, Regions


@pytest.fixture(scope="module")
def scene():
    label_map = torch.zeros(2, 40, 40, dtype=torch.int64)
    label_map[:, 4:12, 6:14] = 1
    label_map[:, 26:34, 24:32] = 2
    regions = Regions.from_label_map(label_map, 5)
    return regions, RegionLatents(torch.randn(2, 5, 1, 4), RegionPose.from_regions(regions), regions.valid)


def test_no_edit_changes_nothing(scene):
    regions, latents = scene
    assert not changed_area(regions, latents, latents).any()


def test_a_move_changes_both_places_and_the_margin(scene):
    regions, latents = scene
    moved = op.move(latents, 1, 0.5, 0.0)
    area = changed_area(regions, latents, moved, margin=0.0, margin_pixels=2)
    expected = torch.zeros(40, 40, dtype=torch.bool)
    expected[2:14, 4:16] = True
    expected[2:14, 24:36] = True
    assert torch.equal(area[0], expected)
    wider = changed_area(regions, latents, moved)
    assert (wider | ~area).all()
    assert not (wider & regions.masks[:, 2]).any()


def test_a_neighbour_that_stays_keeps_its_pixels():
    label_map = torch.zeros(1, 40, 40, dtype=torch.int64)
    label_map[:, 10:30, 4:18] = 1
    label_map[:, 10:30, 20:36] = 2
    regions = Regions.from_label_map(label_map, 3)
    latents = RegionLatents(torch.randn(1, 3, 1, 4), RegionPose.from_regions(regions), regions.valid)
    area = changed_area(regions, latents, op.remove(latents, 1), margin=0.5, margin_pixels=3)
    assert area[0, [15, 35], [2, 10]].all()  # the margin is there
    assert area[0, 15, 20]  # the neighbour's edge, which touches the old mask
    assert not area[0, 10:30, 21:36].any()
    onto = changed_area(regions, latents, op.move(latents, 1, 0.4, 0.0), margin=0.0, margin_pixels=0)
    assert onto[0, 10:30, 20:33].all()  # the new place may cover the neighbour


@pytest.mark.parametrize("edit", [lambda z: op.remove(z, 1), lambda z: op.flip(z, 1), lambda z: op.rotate(z, 1, 45.0)])
def test_an_edit_in_place_changes_its_own_surroundings(scene, edit):
    regions, latents = scene
    area = changed_area(regions, latents, edit(latents))
    assert (area | ~regions.masks[:, 1]).all()
    assert not area[:, 20:].any()


def test_tokens_count_and_free_slots_do_not(scene):
    regions, latents = scene
    tokens = latents.tokens.clone()
    tokens[:, 4] += 1
    assert not changed_area(regions, latents, RegionLatents(tokens, latents.pose, latents.valid)).any()
    tokens[0, 2] += 1
    area = changed_area(regions, latents, RegionLatents(tokens, latents.pose, latents.valid))
    assert (area[0] | ~regions.masks[0, 2]).all()
    assert not area[1].any()


def test_a_turned_box_is_covered(scene):
    regions, latents = scene
    turned = op.rotate(op.resize(latents, 2, (2.0, 0.5)), 2, 90.0)
    area = changed_area(regions, latents, turned, margin=0.0, margin_pixels=0)
    assert area[0, 22:38, 27:29].all()  # the long side now stands upright


def test_a_copy_changes_the_new_place_only(scene):
    regions, latents = scene
    area = changed_area(regions, latents, op.copy(latents, 1, 0.5, 0.0), margin=0.0, margin_pixels=0)
    assert not (area & regions.masks[:, 1]).any()
    assert area[0, 4:12, 26:34].all()
    assert area[0].sum() == 64


@given(st.integers(0, 10_000), st.integers(0, 4))
def test_untouched_pixels_are_bit_identical(seed, feather):
    generator = torch.Generator().manual_seed(seed)
    source, edited = torch.rand(2, 2, 3, 16, 16, generator=generator) * 2 - 1
    changed = torch.rand(2, 16, 16, generator=generator) < 0.8
    result = composite(source, edited, changed, feather)
    keep = ~changed[:, None].expand_as(source)
    assert torch.equal(result[keep], source[keep])
    low, high = torch.minimum(source, edited), torch.maximum(source, edited)
    assert ((result >= low - 1e-6) & (result <= high + 1e-6)).all()


def test_feather_lies_inside_and_reaches_one():
    changed = torch.zeros(1, 20, 20, dtype=torch.bool)
    changed[:, 5:15, 0:10] = True
    weights = feather_weights(changed, 2)
    assert torch.equal(weights > 0, changed)
    assert torch.equal(weights == 1, feather_weights(changed, 0).bool() & (weights > 0.99))
    assert weights[0, 10, 0] == 1  # the picture's own edge is no edge of the area
    assert weights[0, 5, 3] == pytest.approx(1 / 3)


def test_where_all_changes_all_is_the_edited():
    source, edited = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    assert torch.equal(composite(source, edited, torch.ones(1, 8, 8, dtype=torch.bool)), edited)


def test_an_unknown_yaw_is_no_change_and_one_that_is_told_is(make_latents):
    latents = make_latents(objects=(1, 2))
    regions = Regions(torch.zeros(1, 6, 16, 16, dtype=torch.bool), latents.valid)
    unknown = replace(latents, pose=replace(latents.pose, yaw=torch.full_like(latents.pose.angle, torch.nan)))
    told = unknown.pose.yaw.clone()
    told[:, 1] = torch.tensor([0.0, 1.0])
    turned = replace(latents, pose=replace(latents.pose, yaw=told))
    assert not changed_area(regions, unknown, unknown).any() and not changed_area(regions, latents, unknown).any()
    assert changed_area(regions, latents, turned).any() and torch.equal(
        changed_area(regions, latents, turned), changed_area(regions, unknown, turned)
    )
