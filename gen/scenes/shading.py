"""Shading: the light that leaves a surface: materials, textures on objects, textures and shadows on the floor. Linear light, exact operations."""

from __future__ import annotations

import torch
from torch import Tensor

Vector = tuple[Tensor, Tensor, Tensor]

# Rows of the parts' table that shading reads.
LIGHT = slice(0, 3)  # direction to the lamp, object's frame
CAMERA = slice(3, 6)  # the pinhole, object's frame, units of size
CENTRE = slice(6, 9)  # the part's middle, object's frame
COLOUR = slice(9, 12)  # linear
SECOND = slice(12, 15)  # linear
TEXTURE, PERIODS, SHINE, METAL, STRENGTH, AMBIENT = range(15, 21)
BOUNCE = slice(21, 24)  # linear light that the floor throws back
NUM_ROWS = 24

MATERIAL_SHINE = {"matte": 0.0, "shiny": 0.55, "metal": 0.9}
MATERIAL_METAL = {"matte": 0.0, "shiny": 0.0, "metal": 1.0}


def shade(part_point: Vector, normal: Vector, rows: Tensor) -> list[Tensor]:
    """Return the linear red, green and blue that surface points send to the camera.

    Args:
        part_point: the points in their part's frame.
        normal: unit, same frame.
        rows: the parts' table at every point.
    """
    point = [p + c for p, c in zip(part_point, rows[CENTRE], strict=True)]
    light, view = rows[LIGHT], _unit([c - p for c, p in zip(rows[CAMERA], point, strict=True)])
    half = _unit([a + b for a, b in zip(light, view, strict=True)])
    facing = _dot(normal, light).clamp(min=0)
    gleam = _dot(normal, half).clamp(min=0)
    for _ in range(5):
        gleam = gleam * gleam
    gleam = gleam * (rows[SHINE] * rows[STRENGTH])
    metal, toward = rows[METAL], _dot(normal, view).clamp(min=0)
    mirrored_up = 2 * toward * normal[2] - view[2]
    sky = _smoothstep(mirrored_up, -0.25, 0.55)
    openness = 0.6 + 0.4 * (point[2] * 1.25).clamp(0, 1)  # less sky near the floor
    up = (0.5 + 0.5 * normal[2]) * openness
    diffuse = (1 - 0.7 * metal) * (facing * rows[STRENGTH] + up * rows[AMBIENT])
    mirror = metal * openness * (0.15 + 0.85 * sky) * 0.75
    down = (0.5 - 0.5 * normal[2]) * (1 - 0.7 * metal)
    pattern = _object_pattern(point, rows)
    result = []
    for first, second, bounce in zip(rows[COLOUR], rows[SECOND], rows[BOUNCE], strict=True):
        albedo = first + (second - first) * pattern
        tint = 1 + (albedo - 1) * metal  # a metal colours what it mirrors
        result.append(albedo * (diffuse + mirror + down * bounce) + gleam * tint)
    return result


def _object_pattern(point: list[Tensor], rows: Tensor) -> Tensor:
    """Return the share of the second colour in [0, 1]: rows[TEXTURE] 0 plain, 1 stripes, 2 checker, 3 dots."""
    kind, periods = rows[TEXTURE], rows[PERIODS]
    pattern = torch.zeros_like(periods)
    chosen = (kind > 0).nonzero()[:, 0]
    kind, periods = kind[chosen], periods[chosen]
    x, y, z = (value[chosen] * periods for value in point)
    wave_x, wave_y, wave_z = _triangle(x), _triangle(y), _triangle(z)
    stripes = _edge(wave_x, 0.16)
    squares = wave_x * wave_y * wave_z
    checker = _edge(squares, 0.10)
    distance = 1.0 - ((wave_x + 1) * (wave_x + 1) + (wave_y + 1) * (wave_y + 1) + (wave_z + 1) * (wave_z + 1)).sqrt()
    dots = _edge(distance, 0.16)
    value = torch.where(kind == 1, stripes, torch.where(kind == 2, checker, dots))
    return pattern.index_copy(0, chosen, value)


def floor_pattern(x: Tensor, y: Tensor, kind: Tensor) -> Tensor:
    """Return the share of the floor's second colour in [0, 1].

    Args:
        x: position in periods along the texture's first direction.
        y: the same, second direction.
        kind: index into `catalogue.FLOOR_TEXTURES`.
    """
    wave_x, wave_y = _triangle(x), _triangle(y)
    checker = _edge(wave_x * wave_y, 0.12)
    planks = (x * 2).floor()
    planks = ((planks * 0.61803).frac().abs() + 0.25 * _edge(-wave_x, 0.2)).clamp(0, 1)
    tiles = _edge(torch.maximum(wave_x, wave_y) - 0.86, 0.14)
    distance = 0.8 - ((wave_x + 1) * (wave_x + 1) + (wave_y + 1) * (wave_y + 1)).sqrt()
    dots = _edge(distance, 0.16)
    speckle = _value_noise(x * 3, y * 3)
    result = torch.where(kind == 1, checker, torch.zeros_like(x))
    for number, pattern in ((2, planks), (3, tiles), (4, dots), (5, speckle)):
        result = torch.where(kind == number, pattern, result)
    return result


def _value_noise(x: Tensor, y: Tensor) -> Tensor:
    """Interpolate pseudo-random values of the integer lattice."""
    column, row = x.floor(), y.floor()
    right, down = _fade(x - column), _fade(y - row)
    values = [[_hash(column + i, row + j) for i in (0, 1)] for j in (0, 1)]
    upper, lower = (pair[0] + (pair[1] - pair[0]) * right for pair in values)
    return upper + (lower - upper) * down


def _hash(column: Tensor, row: Tensor) -> Tensor:
    mixed = column.to(torch.int32) * 374761393 + row.to(torch.int32) * 668265263
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    return ((mixed ^ (mixed >> 16)) & 0xFFFF).to(column.dtype) / 65535


def _triangle(x: Tensor) -> Tensor:
    """Return the triangle wave of period 1 in [-1, 1], which is -1 at the integers."""
    return 1 - (4 * (x - x.floor()) - 2).abs()


def _edge(value: Tensor, width: float) -> Tensor:
    return (value * (0.5 / width) + 0.5).clamp(0, 1)


def _fade(x: Tensor) -> Tensor:
    return x * x * (3 - 2 * x)


def _smoothstep(value: Tensor, low: float, high: float) -> Tensor:
    return _fade(((value - low) * (1 / (high - low))).clamp(0, 1))


def _dot(a, b) -> Tensor:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _unit(vector: list[Tensor]) -> list[Tensor]:
    scale = 1 / (vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2]).sqrt()
    return [value * scale for value in vector]
