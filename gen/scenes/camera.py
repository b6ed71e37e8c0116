"""The camera: the pinhole's axes, where points land in the picture, and which box of the picture a thing can reach.

Plain double-precision arithmetic on numbers or arrays; sines come from `math`, so that results never depend on vector width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gen.scenes.shapes import PARTS
from gen.scenes.spec import CameraSpec, ObjectSpec

# All bounding spheres of a shape as arrays [count, 4]: x, y, z, radius in units of `size`.
HULLS = {shape: np.array([sphere for part in parts for sphere in part.spheres]) for shape, parts in PARTS.items()}


@dataclass(frozen=True)
class Pinhole:
    """A camera's position, axes (unit, world units) and the tangent of half its field of view."""

    position: tuple[float, float, float]
    right: tuple[float, float, float]
    up: tuple[float, float, float]
    forward: tuple[float, float, float]
    tangent: float

    @staticmethod
    def of(camera: CameraSpec) -> Pinhole:
        """Work out the axes of `camera`."""
        sin_a, cos_a = math.sin(camera.azimuth), math.cos(camera.azimuth)
        sin_e, cos_e = math.sin(camera.elevation), math.cos(camera.elevation)
        forward = (sin_a * cos_e, cos_a * cos_e, -sin_e)
        away = camera.distance
        position = (camera.look_x - away * forward[0], camera.look_y - away * forward[1], -away * forward[2])
        return Pinhole(position, (cos_a, -sin_a, 0.0), (sin_a * sin_e, cos_a * sin_e, cos_e), forward, math.tan(camera.half_angle))

    def to_camera(self, x, y, z):
        """Return (right, up, depth) of a point or of arrays of points, world units."""
        offset = x - self.position[0], y - self.position[1], z - self.position[2]
        return tuple(_dot(offset, axis) for axis in (self.right, self.up, self.forward))

    def project(self, x, y, z):
        """Return where a point lands: (x to the right, y down) in image units, [0, 1] inside the picture."""
        right, up, depth = self.to_camera(x, y, z)
        return (1 + right / (depth * self.tangent)) / 2, (1 - up / (depth * self.tangent)) / 2

    def floor_point(self, image_x: float, image_y: float) -> tuple[float, float]:
        """Return the point on the floor that is seen at (`image_x`, `image_y`)."""
        u, v = (2 * image_x - 1) * self.tangent, (1 - 2 * image_y) * self.tangent
        ray = [f + u * r + v * p for f, r, p in zip(self.forward, self.right, self.up, strict=True)]
        distance = self.position[2] / -ray[2]
        return self.position[0] + distance * ray[0], self.position[1] + distance * ray[1]


def sphere_bounds(right, up, depth, radius, tangent):
    """Return (left, top, right, bottom) of spheres in image units, exact for a pinhole.

    Args:
        right: of the centres in the camera's frame, world units; arrays or numbers, like `up`, `depth` and `radius`.
        up: of the centres.
        depth: of the centres; larger than the radius.
        radius: 0 for a point.
        tangent: of half the field of view.
    """
    left, last = _interval(right, depth, radius, tangent)
    bottom, top = _interval(up, depth, radius, tangent)
    return (1 + left) / 2, (1 - top) / 2, (1 + last) / 2, (1 - bottom) / 2


def object_box(pinhole: Pinhole, item: ObjectSpec) -> tuple[float, float, float, float]:
    """Return a box (left, top, right, bottom) in image units that contains the object; tight to a few percent, may reach outside [0, 1]."""
    hull = HULLS[item.shape]
    cos, sin = math.cos(item.yaw) * item.size, math.sin(item.yaw) * item.size
    x, y = item.x + cos * hull[:, 0] - sin * hull[:, 1], item.y + sin * hull[:, 0] + cos * hull[:, 1]
    right, up, depth = pinhole.to_camera(x, y, item.size * hull[:, 2])
    left, top, last, bottom = sphere_bounds(right, up, depth, item.size * hull[:, 3], pinhole.tangent)
    return float(left.min()), float(top.min()), float(last.max()), float(bottom.max())


def _interval(across, depth, radius, tangent):
    """Return the tangents of the two lines from the pinhole that touch circles at (across, depth), over `tangent`."""
    middle = across * depth
    reach = radius * np.sqrt(across * across + depth * depth - radius * radius)
    scale = (depth * depth - radius * radius) * tangent
    return (middle - reach) / scale, (middle + reach) / scale


def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
