"""Rotations say how objects look: equal rotations look alike wherever they are, turns show in the picture, periods are true."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gen.data.augment import ViewTransform, apply_transforms
from gen.data.pairs import relative_yaw, seen_rotations
from gen.scenes import COLOURS, SHAPES, TEXTURES, depths, render, rotation_period, rotation_periods, sample_scene, viewed_rotations
from gen.scenes.camera import Pinhole

SIDE = 128


def angle_between(first: Tensor, second: Tensor) -> Tensor:
    """Return the geodesic angle in degrees."""
    cosine = ((first.mT @ second).diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return cosine.clamp(-1, 1).acos().rad2deg()


def silhouettes(specs) -> Tensor:
    """Return the masks of the only objects, their boxes stretched to 48 x 48."""
    rendering = render(specs, SIDE)
    left, top, right, bottom = rendering.boxes[:, 1].unbind(-1)
    zero = torch.zeros_like(left)
    maps = torch.stack(
        [torch.stack([right - left, zero, right + left - 1], -1), torch.stack([zero, bottom - top, bottom + top - 1], -1)], 1
    )
    grid = F.affine_grid(maps, [len(specs), 1, 48, 48], align_corners=False)
    return F.grid_sample(rendering.amodal[:, 1:2].float(), grid, align_corners=False)[:, 0] > 0.5


def overlap(first: Tensor, second: Tensor) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_they_are_rotations_and_nan_where_there_is_no_object(make_object, make_scene):
    specs = [sample_scene(2, index, "simple") for index in range(6)]
    specs.append(make_scene(make_object(), replace(make_object("mug", 1.0), present=False)))
    rotations, periods, distances = viewed_rotations(specs, 6), rotation_periods(specs, 6), depths(specs, 6)
    for row, spec in enumerate(specs):
        present = [False, *(item.present for item in spec.objects)]
        present += [False] * (6 - len(present))
        for column, there in enumerate(present):
            rotation = rotations[row, column]
            assert bool(rotation.isnan().all()) == bool(distances[row, column].isnan()) == (int(periods[row, column]) == -1) == (not there)
            if there:
                assert torch.allclose(rotation @ rotation.T, torch.eye(3), atol=1e-5)
                assert float(torch.linalg.det(rotation)) == pytest.approx(1, abs=1e-4)


def test_a_turned_object_straight_ahead_is_what_the_formulas_say(make_object, make_scene):
    scene = make_scene(make_object("box", yaw=0.0))
    camera = replace(scene.camera, azimuth=0.0, look_x=0.0, look_y=0.55 * 0.8 / math.tan(scene.camera.elevation))
    scene = replace(scene, camera=camera)  # the optical axis passes through the box's middle
    sin, cos = math.sin(camera.elevation), math.cos(camera.elevation)
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, -sin, -cos], [0.0, cos, -sin]])
    assert torch.allclose(viewed_rotations([scene], 2)[0, 1], expected, atol=1e-5)
    turned = replace(scene, objects=(replace(scene.objects[0], yaw=math.pi / 2),))
    quarter = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert torch.allclose(viewed_rotations([turned], 2)[0, 1], expected @ quarter, atol=1e-5)


@pytest.mark.parametrize("shape", ["block", "mug", "box", "capsule"])
def test_equal_rotations_look_alike_at_other_places_and_other_yaws_do_not(make_object, make_scene, shape):
    """Search another place, camera and yaw with the same rotation; the same yaw at that place must look less alike."""
    reference = make_scene(make_object(shape, -1.3, 0.9, yaw=0.7, size=1.0))
    rng = random.Random(shape)
    candidates = []
    for _ in range(1500):
        camera = replace(reference.camera, elevation=math.radians(rng.uniform(30, 60)), azimuth=rng.uniform(-0.4, 0.4))
        x, y = Pinhole.of(camera).floor_point(rng.uniform(0.15, 0.35), rng.uniform(0.65, 0.8))
        candidates.append(replace(reference, camera=camera, objects=(replace(reference.objects[0], x=x, y=y, yaw=rng.uniform(0.2, 1.2)),)))
    target = viewed_rotations([reference], 2)[:, 1]
    rotations = viewed_rotations(candidates, 2)[:, 1]
    angles = angle_between(rotations, target)
    best = int(angles.argmin())
    assert angles[best] < 4
    same = candidates[best]
    other = replace(same, objects=(replace(same.objects[0], yaw=same.objects[0].yaw + 0.6),))
    seen, alike, unlike = silhouettes([reference, same, other])
    assert overlap(seen, alike) > 0.88
    assert overlap(seen, alike) > overlap(seen, unlike) + 0.05
    yaw = relative_yaw(target[None], rotations[best][None, None], [ViewTransform()])[0, 0]
    assert abs(math.degrees(math.atan2(*yaw.tolist()))) < 4


def test_the_same_yaw_at_two_places_is_not_the_same_rotation(make_object, make_scene):
    left, right = (make_scene(make_object("box", x, 0.0)) for x in (-1.8, 1.8))
    assert angle_between(*viewed_rotations([left, right], 2)[:, 1]) > 15


@pytest.mark.parametrize("transform", [ViewTransform(0.8, 14.0), ViewTransform(0.75, -35.0, shift=(0.05, 0.0))])
def test_a_view_turned_in_the_plane_shows_the_turned_rotation(make_object, make_scene, transform):
    """The long axis of a capsule lies in the picture along the first column of its rotation, also after the turn."""
    scenes = [make_scene(make_object("capsule", 0.1, -0.1, yaw=yaw, size=1.0)) for yaw in (0.0, 0.5, -0.6)]
    rendering = render(scenes, SIDE)
    transforms = [transform] * len(scenes)
    _, maps = apply_transforms(rendering.pixel_values, rendering.label_map[:, None], transforms)
    for label_maps, rotations in (
        (rendering.label_map, viewed_rotations(scenes, 2)),
        (maps[:, 0], seen_rotations(viewed_rotations(scenes, 2), transforms)),
    ):
        for label_map, rotation in zip(label_maps, rotations[:, 1], strict=True):
            rows, columns = (label_map == 1).nonzero().double().T
            spread = torch.stack([columns, rows]).cov()
            axis = torch.linalg.eigh(spread).eigenvectors[:, -1].float()
            expected = F.normalize(rotation[:2, 0], dim=0)
            assert abs(float(axis @ expected)) > math.cos(math.radians(4))


def test_a_mirrored_view_has_no_rotation_and_others_keep_theirs(make_object, make_scene):
    rotations = viewed_rotations([make_scene(make_object())] * 3, 3)
    seen = seen_rotations(rotations, [ViewTransform(0.9, flip=True), ViewTransform(0.9), ViewTransform(0.9, 10.0)])
    assert seen[0].isnan().all()
    assert torch.equal(seen[1, 1], rotations[1, 1])
    assert float(angle_between(seen[2, 1], rotations[2, 1])) == pytest.approx(10, abs=0.1)
    assert seen[:, [0, 2]].isnan().all()


def test_relative_yaw_is_the_turn_of_the_object_and_a_mirror_reverses_it(make_object, make_scene):
    before, after = (viewed_rotations([make_scene(make_object("mug", 0.4, 0.2, yaw=yaw))] * 2, 3) for yaw in (2.9, 3.4))
    yaw = relative_yaw(before, after, [ViewTransform(), ViewTransform(flip=True)])
    assert torch.allclose(torch.atan2(yaw[..., 0], yaw[..., 1])[:, 1], torch.tensor([0.5, -0.5]), atol=1e-4)
    assert yaw[:, [0, 2]].isnan().all()


@pytest.mark.parametrize("texture", TEXTURES)
@pytest.mark.parametrize("shape", SHAPES)
def test_objects_look_the_same_after_their_period_and_not_after_half_of_it(make_object, make_scene, shape, texture):
    item = make_object(shape, texture=texture, size=1.2, second_rgb=COLOURS["white"], texture_scale=1.7)
    period = rotation_period(item)
    turns = [0, 40, 77] if period == 0 else [0, period, period / 2]
    first, whole, other = render(
        [make_scene(replace(item, yaw=0.3 + math.radians(turn))) for turn in turns], 64, supersampling=4
    ).pixel_values
    assert (first - whole).abs().mean() < 0.004
    if period == 0:
        assert (first - other).abs().mean() < 0.004
    else:
        assert (first - other).abs().mean() > 0.006


def test_depth_grows_away_from_the_camera_and_is_about_one_at_most(make_object, make_scene):
    near, far = depths([make_scene(make_object(y=-1.5)), make_scene(make_object(y=1.5))], 2)[:, 1]
    assert near < far - 0.5
    sampled = depths([sample_scene(0, index, "standard") for index in range(60)], 7)
    assert sampled[~sampled.isnan()].abs().max() < 1.4
