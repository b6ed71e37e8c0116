"""Viewpoint: the same numbers as gen.scenes for the same camera, and as Kubric's projection."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gen.data.viewpoint import Viewpoint, turn
from gen.scenes import another_view, relative_camera, sample_scene, viewed_rotations
from gen.scenes.camera import Pinhole
from gen.scenes.rotations import _middle
from tests.data.toy_kubric import FOCAL_LENGTH, SENSOR_WIDTH, axis_angle, kubric_projection, look_at, rotated


def scenes_viewpoint(camera):
    return Viewpoint.looking_at(np.array(Pinhole.of(camera).position), np.array([camera.look_x, camera.look_y, 0.0]))


def test_a_scenes_camera_and_objects_have_the_numbers_that_scenes_gives_them():
    spec = sample_scene(3, 1, "standard")
    other = another_view(spec, 5, 40.0)
    assert other is not None
    source, target = scenes_viewpoint(spec.camera), scenes_viewpoint(other.camera)
    assert torch.allclose(source.relative(target, spec.camera.distance), relative_camera(spec.camera, other.camera), atol=1e-6)
    expected = viewed_rotations([spec], len(spec.objects) + 1)[0]
    for key, item in enumerate(spec.objects, start=1):
        yaw = turn(axis_angle((0, 0, 1), item.yaw))
        assert torch.allclose(source.rotation(np.array(_middle(item)), yaw), expected[key], atol=1e-6)


def test_a_blender_camera_sees_points_where_kubric_projects_them():
    rng = np.random.default_rng(0)
    for _ in range(20):
        position, point = rng.uniform(-1, 1, 3) * 3 + (6, 0, 4), rng.uniform(-1, 1, 3)
        quaternion = look_at(position)
        x, y, z = Viewpoint.of_blender(position, quaternion).seen(point)
        assert z > 0
        focal = FOCAL_LENGTH / SENSOR_WIDTH
        assert np.allclose((0.5 + focal * x / z, 0.5 + focal * y / z), kubric_projection(position, quaternion, point), atol=1e-9)


def test_looking_at_is_blenders_camera_that_looks_there():
    position = np.array([3.0, -6.0, 2.0])
    blender, plain = Viewpoint.of_blender(position, look_at(position)), Viewpoint.looking_at(position, np.zeros(3))
    assert np.allclose(blender.axes, plain.axes)
    assert np.allclose(plain.seen(np.zeros(3)), (0, 0, 7))
    assert np.linalg.det(plain.axes) == pytest.approx(1)


def test_the_relative_camera_takes_what_one_sees_to_what_the_other_sees():
    first, second, point = np.array([5.0, 1.0, 2.0]), np.array([-2.0, 6.0, 4.0]), np.array([0.3, -0.8, 0.5])
    source, target = (Viewpoint.of_blender(position, look_at(position)) for position in (first, second))
    matrix = source.relative(target, 2.0).view(3, 4).double().numpy()
    moved = matrix[:, :3] @ (source.seen(point) / 2) + matrix[:, 3]
    assert np.allclose(moved * 2, target.seen(point), atol=1e-5)


def test_a_quaternion_turns_as_hamilton_says():
    rng = np.random.default_rng(1)
    quaternion, points = rng.normal(size=4), rng.normal(size=(5, 3))
    assert np.allclose(points @ turn(quaternion).T, rotated(quaternion / np.linalg.norm(quaternion), points))
    assert np.allclose(turn(axis_angle((0, 0, 1), math.pi / 2)) @ (1, 0, 0), (0, 1, 0))


def test_what_is_no_camera_or_no_rotation_is_refused():
    for values in ([0.0] * 4, [math.nan, 0.0, 0.0, 0.0], [math.inf, 0.0, 0.0, 0.0]):
        with pytest.raises(ValueError, match="is no rotation"):
            turn(np.array(values))
    with pytest.raises(ValueError, match="no upright picture"):
        Viewpoint.looking_at(np.array([0.0, 0.0, 5.0]), np.zeros(3))
    with pytest.raises(ValueError, match="no upright picture"):
        Viewpoint.looking_at(np.zeros(3), np.zeros(3))
