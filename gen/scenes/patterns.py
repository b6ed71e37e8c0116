"""Patterns: textures of objects and floors as functions of position; the value is the share of the second colour, in [0, 1]."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_OBJECT_EDGE = 0.16  # width of a soft edge, in wave heights
_PLANKS_PER_PERIOD = 3
_NOISE_PER_PERIOD = 3


def object_pattern(point: list[Float[Tensor, " m"]], periods: Float[Tensor, " m"], kind: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Evaluate solid textures, which turn with the object because `point` is in its own frame.

    Args:
        point: x, y, z in units of the object's size.
        periods: per unit.
        kind: position in `catalogue.TEXTURES`.
    """
    chosen = (kind > 0).nonzero()[:, 0]
    kind_here, scale = kind.index_select(0, chosen), periods.index_select(0, chosen)
    wave_x, wave_y, wave_z = (_triangle(value.index_select(0, chosen) * scale) for value in point)
    stripes = _edge(wave_x, _OBJECT_EDGE)
    checker = _edge(wave_x * wave_y * wave_z, 0.6 * _OBJECT_EDGE)
    from_knot = ((wave_x + 1) * (wave_x + 1) + (wave_y + 1) * (wave_y + 1) + (wave_z + 1) * (wave_z + 1)).sqrt()
    dots = _edge(1 - from_knot, _OBJECT_EDGE)
    value = torch.where(kind_here == 1, stripes, torch.where(kind_here == 2, checker, dots))
    return torch.zeros_like(periods).index_copy(0, chosen, value)


def floor_pattern(
    x: Float[Tensor, "b h w"], y: Float[Tensor, "b h w"], footprint: Float[Tensor, "b h w"], kind: Float[Tensor, "b 1 1"]
) -> Float[Tensor, "b h w"]:
    """Evaluate flat textures whose edges are as soft as a pixel is wide.

    Args:
        x: position in periods along the texture's first direction.
        y: the same, second direction.
        footprint: width of a pixel in periods.
        kind: position in `catalogue.FLOOR_TEXTURES`.
    """
    wave_x, wave_y = _triangle(x), _triangle(y)
    sharpness = 1 / (4 * footprint)
    result = torch.where(kind == 1, (wave_x * wave_y * sharpness + 0.5).clamp(0, 1), 0.0)
    if bool((kind == 2).any()):
        result = torch.where(kind == 2, _planks(x * _PLANKS_PER_PERIOD, footprint * _PLANKS_PER_PERIOD), result)
    tiles = ((torch.maximum(wave_x, wave_y) - 0.84) * sharpness + 0.5).clamp(0, 1)
    result = torch.where(kind == 3, tiles, result)
    from_knot = ((wave_x + 1) * (wave_x + 1) + (wave_y + 1) * (wave_y + 1)).sqrt()
    result = torch.where(kind == 4, ((0.9 - from_knot) * sharpness + 0.5).clamp(0, 1), result)
    if bool((kind == 5).any()):
        result = torch.where(kind == 5, _noise(x * _NOISE_PER_PERIOD, y * _NOISE_PER_PERIOD), result)
    return result


def smoothstep(value: Float[Tensor, " m"], low: float, high: float) -> Float[Tensor, " m"]:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    return _fade(((value - low) * (1 / (high - low))).clamp(0, 1))


def _planks(x: Tensor, footprint: Tensor) -> Tensor:
    number = x.floor()
    here, after = _plank_shade(number), _plank_shade(number + 1)
    return here + (after - here) * ((x - number - 1) / footprint + 1).clamp(0, 1)


def _plank_shade(number: Tensor) -> Tensor:
    value = number * 0.618034
    return value - value.floor()


def _noise(x: Tensor, y: Tensor) -> Tensor:
    """Interpolate pseudo-random values of the integer lattice."""
    column, row = x.floor(), y.floor()
    right, down = _fade(x - column), _fade(y - row)
    upper, lower = (_hash(column, row + i) + (_hash(column + 1, row + i) - _hash(column, row + i)) * right for i in (0, 1))
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
