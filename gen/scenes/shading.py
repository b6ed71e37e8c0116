"""Shading: the linear light that an object's surface sends to the camera; materials are matte, shiny and metal."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from gen.scenes.patterns import object_pattern, smoothstep

# Rows of `tables.PartTable.look`; directions and points in the object's frame, units of its size; colours linear.
LIGHT = slice(0, 3)  # unit vector to the lamp
CAMERA = slice(3, 6)  # the pinhole
CENTRE = slice(6, 9)  # the part's middle
COLOUR = slice(9, 12)
SECOND = slice(12, 15)
TEXTURE, PERIODS, SHINE, METAL, STRENGTH, AMBIENT = range(15, 21)
BOUNCE = slice(21, 24)  # light that the floor throws back

MATERIAL_SHINE = {"matte": 0.0, "shiny": 0.45, "metal": 0.8}
MATERIAL_METAL = {"matte": 0.0, "shiny": 0.0, "metal": 1.0}

_GLOSS_SQUARINGS = 5  # highlight = cosine to the power 2^5


def shade(part_point: Float[Tensor, "3 m"], normal: Float[Tensor, "3 m"], look: Float[Tensor, "r m"]) -> list[Float[Tensor, " m"]]:
    """Return red, green and blue of surface points.

    Diffuse lamp (Lambert), sky from above dimmed near the floor, light thrown back by the floor, a Blinn-Phong highlight; a metal
    mirrors a bright sky over a dark ground in its own colour.

    Args:
        part_point: the points in their part's frame.
        normal: unit, same frame.
        look: the rows of `PartTable.look` at every point.

    Source: Blinn, Models of light reflection for computer synthesized pictures (1977).
    """
    point = [p + c for p, c in zip(part_point, look[CENTRE], strict=True)]
    view = _unit([c - p for c, p in zip(look[CAMERA], point, strict=True)])
    half = _unit([a + b for a, b in zip(look[LIGHT], view, strict=True)])
    facing = _dot(normal, look[LIGHT]).clamp(min=0)
    gleam = _dot(normal, half).clamp(min=0)
    for _ in range(_GLOSS_SQUARINGS):
        gleam = gleam * gleam
    gleam = gleam * (look[SHINE] * look[STRENGTH])
    metal, matte = look[METAL], 1 - 0.7 * look[METAL]
    openness = 0.6 + 0.4 * (point[2] * 1.25).clamp(0, 1)  # less sky near the floor
    up = 0.5 + 0.5 * normal[2]
    mirrored_up = 2 * _dot(normal, view).clamp(min=0) * normal[2] - view[2]
    mirror = metal * openness * (0.16 + 0.64 * smoothstep(mirrored_up, -0.25, 0.55))
    received = matte * (facing * look[STRENGTH] + up * openness * look[AMBIENT]) + mirror
    below = (1 - up) * matte
    pattern = object_pattern(point, look[PERIODS], look[TEXTURE])
    result = []
    for first, second, bounce in zip(look[COLOUR], look[SECOND], look[BOUNCE], strict=True):
        albedo = first + (second - first) * pattern
        tint = 1 + (albedo - 1) * metal  # a metal colours its highlight too
        result.append(albedo * (received + below * bounce) + gleam * tint)
    return result


def _dot(a, b) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(vector: list[Tensor]) -> list[Tensor]:
    scale = 1 / (vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]).sqrt()
    return [value * scale for value in vector]
