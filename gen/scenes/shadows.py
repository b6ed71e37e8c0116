"""Shadows on the floor: how far a floor point is from a part's shadow and from where the part stands. Analytic, soft, exact operations.

All in the object's own axes (origin where it stands, z up, units of `size`); `x`, `y` is a floor point, `light` points to the lamp.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gen.scenes.shapes import Vector

_TORUS_SEGMENTS = 12
_CONTACT_REACH = 0.4
_CONTACT_DEPTH = 0.5


def sun_and_sky(kind: str, x: Tensor, y: Tensor, centre: Vector, size: Vector, light: Vector, softness: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of lamp light and of sky light, in [0, 1], that a part leaves to floor points.

    Args:
        kind: of the part, a key of `shapes.INTERSECT`.
        x: floor points.
        y: floor points.
        centre: middle of the part.
        size: `Part.size`.
        light: unit vector to the lamp.
        softness: penumbra width per unit of height.
    """
    slant = light[0] * light[0] + light[1] * light[1]
    behind = -((x - centre[0]) * light[0] + (y - centre[1]) * light[1]) * light[2] / slant  # height of what shades this point
    width = 0.06 + softness * behind.clamp(0, 2.5)
    distance, footprint = _DISTANCE[kind](x - centre[0], y - centre[1], centre[2], size, light)
    sun = (distance / width * 0.5 + 0.5).clamp(0, 1)
    near = 1 - (footprint * (1 / _CONTACT_REACH)).clamp(0, 1)
    raised = (centre[2] - _HALF_HEIGHT[kind](size)) > 0.05
    sky = torch.where(raised, 1.0, 1 - _CONTACT_DEPTH * near * near)
    return sun * sun * (3 - 2 * sun), sky


def _sphere(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    along = x * light[0] + y * light[1] - z * light[2]
    squared = x * x + y * y + z * z - along * along
    return squared.clamp(min=0).sqrt() - size[0], (x * x + y * y).sqrt() - 0.5 * size[0]


def _box(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    """Measure the hexagon that a rectangle leaves when it slides from the bottom's shadow to the top's."""
    slide_x, slide_y = light[0] / light[2], light[1] / light[2]
    shadow_x, shadow_y = x + slide_x * z, y + slide_y * z
    slide_x, slide_y = slide_x * size[2], slide_y * size[2]
    length = (slide_x * slide_x + slide_y * slide_y).sqrt()
    across = (shadow_x * slide_y - shadow_y * slide_x).abs() - (size[0] * slide_y.abs() + size[1] * slide_x.abs())
    sides = torch.maximum(shadow_x.abs() - size[0] - slide_x.abs(), shadow_y.abs() - size[1] - slide_y.abs())
    return torch.maximum(sides, across / length), torch.maximum(x.abs() - size[0], y.abs() - size[1])


def _cylinder(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    tip_x, tip_y = -2 * z * light[0] / light[2], -2 * z * light[1] / light[2]
    share = ((x * tip_x + y * tip_y) / (tip_x * tip_x + tip_y * tip_y)).clamp(0, 1)
    off_x, off_y = x - share * tip_x, y - share * tip_y
    return (off_x * off_x + off_y * off_y).sqrt() - size[0], (x * x + y * y).sqrt() - size[0]


def _cone(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    tip_x, tip_y = -2 * z * light[0] / light[2], -2 * z * light[1] / light[2]
    share = ((x * tip_x + y * tip_y) / (tip_x * tip_x + tip_y * tip_y)).clamp(0, 1)
    off_x, off_y = x - share * tip_x, y - share * tip_y
    return (off_x * off_x + off_y * off_y).sqrt() - size[0] * (1 - share), (x * x + y * y).sqrt() - size[0]


def _capsule(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    along = x * light[0] + y * light[1] - z * light[2]
    nearest = torch.maximum(torch.minimum((x - along * light[0]) / (1 - light[0] * light[0]), size[1]), -size[1])
    distance, _ = _sphere(x - nearest, y, z, size, light)
    beside = x - torch.maximum(torch.minimum(x, size[1]), -size[1])
    return distance, (beside * beside + y * y).sqrt() - 0.5 * size[0]


def _torus(x: Tensor, y: Tensor, z: Tensor, size: Vector, light: Vector) -> tuple[Tensor, Tensor]:
    """Look along the light: the ring is a closed chain of segments in that plane, the shadow's edge one tube radius from it."""
    ring, tube, least_x = size
    slant = (light[0] * light[0] + light[1] * light[1]).sqrt()
    east, north, rise = -light[1] / slant, light[0] / slant, -light[2] / slant

    def seen(px: Tensor, py: Tensor | float, pz: Tensor) -> tuple[Tensor, Tensor]:
        return px * east + py * north, (px * light[0] + py * light[1]) * rise + pz * slant

    turns = [2 * math.pi * i / _TORUS_SEGMENTS for i in range(_TORUS_SEGMENTS)]
    corners = [seen(torch.maximum(ring * math.cos(turn), least_x), 0.0, ring * math.sin(turn)) for turn in turns]
    point = seen(x, y, -z)
    nearest = torch.full_like(x, float("inf"))
    for (ax, ay), (bx, by) in zip(corners, [*corners[1:], corners[0]], strict=True):
        edge_x, edge_y, off_x, off_y = bx - ax, by - ay, point[0] - ax, point[1] - ay
        share = ((off_x * edge_x + off_y * edge_y) / (edge_x * edge_x + edge_y * edge_y)).clamp(0, 1)
        off_x, off_y = off_x - share * edge_x, off_y - share * edge_y
        nearest = torch.minimum(nearest, off_x * off_x + off_y * off_y)
    beside = (x.abs() - 0.5 * ring).clamp(min=0)
    return nearest.sqrt() - tube, (beside * beside + y * y).sqrt() - 0.5 * tube


_DISTANCE = {"sphere": _sphere, "box": _box, "cylinder": _cylinder, "cone": _cone, "capsule": _capsule, "torus": _torus, "cup": _cylinder}
_HALF_HEIGHT = {
    "sphere": lambda size: size[0],
    "box": lambda size: size[2],
    "cylinder": lambda size: size[1],
    "cone": lambda size: size[1] / 2,
    "capsule": lambda size: size[0],
    "torus": lambda size: size[0] + size[1],
    "cup": lambda size: size[1],
}
