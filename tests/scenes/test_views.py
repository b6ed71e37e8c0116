"""Another view: only the camera differs, every object is still inside the picture and seen, and the relative camera says how."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gen.scenes import PRESETS, another_view, relative_camera, render, sample_scene
from gen.scenes.camera import Pinhole
from gen.scenes.rotations import camera_axes


@pytest.fixture(scope="module")
def pairs():
    specs = [sample_scene(17, index, preset) for preset in PRESETS for index in range(12)]
    return [(spec, view) for spec in specs if (view := another_view(spec, 2, 30.0)) is not None]


def test_most_scenes_have_another_view_and_only_the_camera_differs(pairs):
    assert len(pairs) > 28
    for spec, view in pairs:
        assert replace(view, camera=spec.camera) == spec
        assert 0.3 * 30 - 1e-6 <= abs(math.degrees(view.camera.azimuth - spec.camera.azimuth)) <= 30 + 1e-6
        assert replace(view.camera, azimuth=spec.camera.azimuth, elevation=spec.camera.elevation) == spec.camera
        assert 36 - 1e-6 <= math.degrees(view.camera.elevation) <= 58 + 1e-6
        assert another_view(spec, 2, 30.0) == view
    spec = pairs[0][0]
    assert len({another_view(spec, seed, 30.0) for seed in range(5)}) > 2


def test_every_object_stays_whole_and_visible_and_the_picture_changes(pairs):
    before, after = render([spec for spec, _ in pairs], 64), render([view for _, view in pairs], 64)
    assert not after.amodal[:, 1:, [0, -1]].any()
    assert not after.amodal[:, 1:, :, [0, -1]].any()
    for row, (_, view) in enumerate(pairs):
        for label in range(1, len(view.objects) + 1):
            assert (after.label_map[row] == label).sum() > 0.2 * after.amodal[row, label].sum()
    assert ((before.label_map != after.label_map).flatten(1).float().mean(1) > 0.02).all()


def test_the_relative_camera_takes_points_from_one_camera_to_the_other(pairs):
    point = torch.tensor([0.7, -0.4, 0.5], dtype=torch.float64)
    for spec, view in pairs:
        places = []
        for camera in (spec.camera, view.camera):
            pinhole = Pinhole.of(camera)
            axes = torch.from_numpy(camera_axes(pinhole))
            places.append(axes @ (point - torch.tensor(pinhole.position, dtype=torch.float64)) / spec.camera.distance)
        matrix = relative_camera(spec.camera, view.camera).view(3, 4).double()
        assert torch.allclose(matrix[:, :3] @ places[0] + matrix[:, 3], places[1], atol=1e-5)
        assert torch.equal(relative_camera(view.camera, view.camera).view(3, 4), torch.eye(3, 4))


def test_where_nothing_is_legal_there_is_none(make_object, make_scene):
    assert another_view(make_scene(make_object("sphere", 30.0, 4.0)), 0, 30.0) is None


@pytest.mark.parametrize("degrees", [0.0, -3.0, 181.0])
def test_an_impossible_orbit_is_refused(make_object, make_scene, degrees):
    with pytest.raises(ValueError, match="max_degrees"):
        another_view(make_scene(make_object()), 0, degrees)
