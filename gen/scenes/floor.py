"""The floor: its colour under lamp, sky and shadows, once a pixel, in linear light."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from gen.scenes import shading
from gen.scenes.canvas import TILE, Canvas
from gen.scenes.patterns import floor_pattern
from gen.scenes.shadows import sun_and_sky
from gen.scenes.tables import FloorTable, PartTable

_POOL = 0.012  # how quickly the lamp's pool of light fades with the square of the distance
_GRAZING = 1.3  # a pixel covers so much more floor than a facing surface


def shade_floor(parts: PartTable, floors: FloorTable, canvas: Canvas) -> tuple[Float[Tensor, "3 p"], Float[Tensor, " p"]]:
    """Return the linear colour and the depth of the floor at every pixel of the batch."""
    ticks = canvas.ticks(1)
    u, v = floors.tangent * ticks, floors.tangent * -ticks[:, None]
    direction = [f + r * u + p * v for f, r, p in zip(floors.forward, floors.right, floors.up, strict=True)]
    depth = -floors.position[2] / direction[2]
    x, y = floors.position[0] + depth * direction[0], floors.position[1] + depth * direction[1]
    sun, sky = _shadows(parts, canvas, x.reshape(-1), y.reshape(-1))
    along = (floors.cos * x + floors.sin * y) * floors.frequency + floors.phase[0]
    across = (floors.cos * y - floors.sin * x) * floors.frequency + floors.phase[1]
    footprint = depth * (floors.tangent * floors.frequency * (2 * _GRAZING / canvas.resolution))
    pattern = floor_pattern(along, across, footprint, floors.texture)
    aside_x, aside_y = x - floors.look[0], y - floors.look[1]
    pool = 1 / (1 + _POOL * (aside_x * aside_x + aside_y * aside_y))
    light = pool * (sun.view_as(x) * floors.lamp + sky.view_as(x) * floors.sky)
    colour = torch.stack([(a + (b - a) * pattern) * light for a, b in zip(floors.colour, floors.second, strict=True)])
    return colour.flatten(1), depth.flatten()


def _shadows(parts: PartTable, canvas: Canvas, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the shares of lamp and sky light that reach each floor pixel; of several shadows the darkest counts."""
    sun, sky = torch.ones_like(x), torch.ones_like(x)
    steps = torch.arange(TILE, device=canvas.device)
    in_tile = (steps[:, None] * canvas.resolution + steps).reshape(-1, 1)
    for kind, start, stop in parts.kinds:
        owner, column, row = canvas.tiles(parts.shadow_boxes[start:stop])
        owner = owner + start
        place, look, size = (canvas.array(values[:, owner]) for values in (parts.place, parts.look[: shading.CENTRE.stop], parts.size))
        pixel = in_tile + canvas.array(canvas.corner(column, row) + parts.scene[owner] * canvas.pixels)
        object_x, object_y, scale, cos, sin, softness = place
        offset_x, offset_y = (x.take(pixel) - object_x) / scale, (y.take(pixel) - object_y) / scale
        local_x, local_y = cos * offset_x + sin * offset_y, cos * offset_y - sin * offset_x
        centre, light = tuple(look[shading.CENTRE]), tuple(look[shading.LIGHT])
        part_sun, part_sky = sun_and_sky(kind, local_x, local_y, centre, tuple(size), light, softness)
        sun.scatter_reduce_(0, pixel.view(-1), part_sun.reshape(-1), "amin")
        sky.scatter_reduce_(0, pixel.view(-1), part_sky.reshape(-1), "amin")
    return sun, sky
