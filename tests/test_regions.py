"""The nouns: masks, boxes and poses agree with each other."""

from __future__ import annotations

import math

import pytest
import torch

from gen.data.augment import ViewTransform, apply_transforms, relative_turn
from gen.regions import RegionLatents, RegionPose, Regions, cell_centres, concatenate, masks_to_grid


def bar(left: int, top: int, right: int, bottom: int, side: int = 32) -> torch.Tensor:
    label_map = torch.zeros(1, side, side, dtype=torch.long)
    label_map[:, top:bottom, left:right] = 1
    return label_map


def test_label_map_survives_the_way_through_masks():
    label_map = torch.randint(0, 4, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    assert torch.equal(Regions.from_label_map(label_map, 6).label_map(), label_map)


def test_a_label_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match="label 5 .* num_regions=4"):
        Regions.from_label_map(torch.full((1, 4, 4), 5), 4)


def test_boxes_are_the_masks_extents_in_image_units():
    box = Regions.from_label_map(bar(4, 8, 12, 24), 3).boxes()[0, 1]
    assert torch.equal(box, torch.tensor([4, 8, 12, 24]) / 32)


def test_absent_regions_have_no_box_and_are_not_valid():
    regions = Regions.from_label_map(bar(4, 8, 12, 24), 3)
    assert regions.valid.tolist() == [[True, True, False]]
    assert regions.boxes()[0, 2].tolist() == [0, 0, 0, 0]


def test_a_tiny_region_still_owns_a_cell():
    cells = masks_to_grid(Regions.from_label_map(bar(5, 9, 6, 10), 2).masks, 4)
    assert cells[0, 1].nonzero().tolist() == [[1, 0]]


def test_masks_that_do_not_divide_into_the_grid_are_refused():
    with pytest.raises(ValueError, match="32x32 .* 5x5"):
        masks_to_grid(torch.ones(1, 1, 32, 32, dtype=torch.bool), 5)


def test_own_coordinates_of_a_box_reach_from_minus_half_to_half():
    pose = RegionPose.from_boxes(torch.tensor([[[0.25, 0.5, 0.75, 0.75]]]))
    own = pose.own_coordinates(torch.tensor([[0.25, 0.5], [0.75, 0.75], [0.5, 0.625]]))[0, 0]
    torch.testing.assert_close(own, torch.tensor([[-0.5, -0.5], [0.5, 0.5], [0.0, 0.0]]))


@pytest.mark.parametrize(
    "transform", [ViewTransform(0.7, 20.0), ViewTransform(0.6, -15.0, True, (0.1, 0.0)), ViewTransform(0.9, 0.0, True)]
)
def test_the_same_point_of_an_object_has_the_same_own_coordinates_in_both_views(transform):
    """A marked corner of a bar is found again where the pose says, after a turn, a mirror and a crop."""
    side = 256
    label_map = bar(96, 112, 160, 136, side)
    picture = torch.zeros(1, 3, side, side)
    picture[:, :, 114:120, 98:104] = 1.0
    seen, maps = apply_transforms(picture, label_map[:, None], [transform])
    flip, angle = relative_turn(ViewTransform(), transform)
    before = RegionPose.from_regions(Regions.from_label_map(label_map, 2))
    after = RegionPose.from_regions(Regions.from_label_map(maps[:, 0], 2), torch.tensor([flip]), torch.tensor([angle]))
    points = cell_centres(side, side)
    own_before = before.own_coordinates(points)[0, 1][picture[0, 0].flatten() > 0.5].mean(0)
    own_after = after.own_coordinates(points)[0, 1][seen[0, 0].flatten() > 0.5].mean(0)
    torch.testing.assert_close(own_after, own_before, atol=0.03, rtol=0)


def test_turned_boxes_keep_the_objects_own_size():
    label_map = bar(96, 112, 160, 136, 256)
    transform = ViewTransform(1 / (math.cos(math.radians(30)) + 0.5), 30.0)
    maps = apply_transforms(torch.zeros(1, 3, 256, 256), label_map[:, None], [transform])[1]
    flip, angle = relative_turn(ViewTransform(), transform)
    pose = RegionPose.from_regions(Regions.from_label_map(maps[:, 0], 2), torch.tensor([flip]), torch.tensor([angle]))
    torch.testing.assert_close(pose.size[0, 1] * transform.scale, torch.tensor([64, 24]) / 256, atol=0.02, rtol=0)


def test_concatenate_joins_what_indexing_took_apart():
    pose = RegionPose.from_boxes(torch.rand(3, 2, 4))
    latents = RegionLatents(torch.randn(3, 2, 1, 4), pose, torch.ones(3, 2, dtype=torch.bool))
    joined = concatenate([latents[0], latents[1], latents[2]])
    assert torch.equal(joined.tokens, latents.tokens) and torch.equal(joined.pose.centre, latents.pose.centre)
