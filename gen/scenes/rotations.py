"""Rotations: how every object of a scene is turned towards its viewer, after which turn it looks the same, how far away it is.

All of it is plain from the specs, without a rendering. Axes of a viewer: x to the right, y down, z away from him.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from gen.scenes.camera import HULLS, Pinhole
from gen.scenes.catalogue import YAW_PERIOD
from gen.scenes.spec import CameraSpec, ObjectSpec, SceneSpec

# The height of a shape's middle above the floor, in units of `size`.
_MIDDLE = {shape: float((hull[:, 2] + hull[:, 3]).max()) / 2 for shape, hull in HULLS.items()}
# Textures are even in x and in y, so half a turn shows the same; checker and dots also treat x and y alike.
_TEXTURE_PERIOD = {"plain": 0, "stripes": 180, "checker": 90, "dots": 90}
_MIDDLE_DEPTH, _DEPTH_REACH = 10.0, 2.5  # world units: the cameras' distance, and how much nearer or farther objects stand


def viewed_rotations(specs: Sequence[SceneSpec], n: int) -> Float[Tensor, "b n 3 3"]:
    """Return the rotation from each object's axes to its viewer's axes along the line of sight (allocentric).

    The object's axes are those of its shape's template, z up, turned by `ObjectSpec.yaw` counter-clockwise about z. The viewer's are the
    camera's, turned by the shortest way until z passes through the object's middle. So two objects with equal rotations look alike
    wherever they stand in the picture, which is not so for the rotation to the camera's own axes (egocentric).

    Args:
        specs: the scenes.
        n: regions, the background included.

    Returns:
        R with (viewer's vector) = R (object's vector); NaN for the background, for padding and for absent objects.

    Source: allocentric against egocentric rotation: Kundu et al., 3D-RCNN, CVPR 2018, section 3.2.
    """
    result = torch.full((len(specs), n, 3, 3), torch.nan)
    places, rotations = [], []
    for row, spec in enumerate(specs):
        pinhole = Pinhole.of(spec.camera)
        axes = camera_axes(pinhole)
        for column, item in enumerate(spec.objects, 1):
            if item.present:
                places.append((row, column))
                rotations.append(_sight(axes, pinhole.position, item) @ axes @ _turn(item.yaw))
    if places:
        result[tuple(torch.tensor(places).T)] = torch.from_numpy(np.stack(rotations)).to(result.dtype)
    return result


def rotation_periods(specs: Sequence[SceneSpec], n: int) -> Int[Tensor, "b n"]:
    """Return the turn about its own vertical axis after which each object looks the same, in degrees.

    Returns:
        360: after a whole turn only; 180 or 90: by symmetry of shape and texture; 0: at every turn; -1: background, padding, absent.
    """
    result = torch.full((len(specs), n), -1)
    for row, spec in enumerate(specs):
        for column, item in enumerate(spec.objects, 1):
            if item.present:
                result[row, column] = rotation_period(item)
    return result


def rotation_period(item: ObjectSpec) -> int:
    """Return the turn after which an object looks the same, in degrees; 0: at every turn."""
    return max(YAW_PERIOD[item.shape], _TEXTURE_PERIOD[item.texture])  # each of these divides the larger ones


def depths(specs: Sequence[SceneSpec], n: int) -> Float[Tensor, "b n"]:
    """Return how far away the middle of each object is along the optical axis.

    Returns:
        (distance in world units - 10) / 2.5, which is about -1 (near) to 1 (far) in sampled scenes; NaN for the background, for padding
        and for absent objects.
    """
    result = torch.full((len(specs), n), torch.nan)
    for row, spec in enumerate(specs):
        pinhole = Pinhole.of(spec.camera)
        for column, item in enumerate(spec.objects, 1):
            if item.present:
                distance = pinhole.to_camera(*_middle(item))[2]
                result[row, column] = (distance - _MIDDLE_DEPTH) / _DEPTH_REACH
    return result


def relative_camera(source: CameraSpec, target: CameraSpec) -> Float[Tensor, " 12"]:
    """Return the target camera's frame relative to the source camera's.

    Returns:
        Row-major [R | t] with (point for the target) = R (point for the source) + t; x right, y down, z away. Lengths are in units of the
        source camera's `distance`. Identity and zeros for the same camera.
    """
    if source == target:
        return torch.eye(3, 4).flatten()
    before, after = Pinhole.of(source), Pinhole.of(target)
    axes = camera_axes(after)
    rotation = axes @ camera_axes(before).T
    shift = axes @ (np.array(before.position) - np.array(after.position)) / source.distance
    return torch.from_numpy(np.concatenate([rotation, shift[:, None]], 1)).float().flatten()


def camera_axes(pinhole: Pinhole) -> np.ndarray:
    """Return the rotation from the world's axes to the camera's: rows are its x (right), y (down) and z (forward), [3, 3]."""
    return np.array([pinhole.right, [-value for value in pinhole.up], pinhole.forward])


def _sight(axes: np.ndarray, position: tuple[float, float, float], item: ObjectSpec) -> np.ndarray:
    """Return the shortest rotation, camera's frame, after which the object's middle lies straight ahead."""
    ray = axes @ (np.array(_middle(item)) - np.array(position))
    x, y, z = ray / math.sqrt(float(ray @ ray))
    share = 1 / (1 + z)
    return np.array([[1 - x * x * share, -x * y * share, -x], [-x * y * share, 1 - y * y * share, -y], [x, y, z]])


def _middle(item: ObjectSpec) -> tuple[float, float, float]:
    return item.x, item.y, item.size * _MIDDLE[item.shape]


def _turn(yaw: float) -> np.ndarray:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
