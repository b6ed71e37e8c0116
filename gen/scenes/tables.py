"""The tables: a batch of specs as arrays, one column per part of a present object, one entry per scene's floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gen.scenes import shading
from gen.scenes.camera import Pinhole, sphere_bounds
from gen.scenes.catalogue import FLOOR_TEXTURES, TEXTURES
from gen.scenes.shapes import INTERSECT, PARTS
from gen.scenes.spec import ObjectSpec, SceneSpec

_KINDS = tuple(INTERSECT)
_MOST_SPHERES = max(len(part.spheres) for parts in PARTS.values() for part in parts)
_NUM_NUMBERS = 43  # that `part_table` lists for a part: view 17, place 5, centre 3, size 3, surface 15
_CONTACT = 0.42  # how far contact darkening reaches, units of size
_BOUNCE = 0.25  # share of the floor's light that reaches an object's underside


@dataclass(frozen=True)
class PartTable:
    """Every part of every present object of a batch, sorted by kind, scene and object; p parts.

    Attributes:
        scene: [p] number of the scene in the batch.
        label: [p] number of the object in its scene, from 1.
        kinds: (kind, first part, last part + 1) for each kind that occurs.
        size: [3, p] `Part.size`.
        axes: [9, p] the camera's forward, right and up in the object's frame, per unit of depth, right and up times the tangent.
        depth: [p] of the part's middle along the optical axis, world units.
        start: [3, p] the optical axis at that depth, part's frame.
        look: [24, p] what `shading.shade` reads, in its rows.
        place: [6, p] x, y, size, cos and sin of the yaw, softness of the light.
        boxes: [p, 4] (left, top, right, bottom) of the part in image units, never too small.
        shadow_boxes: [p, 4] of all of the floor that the part may darken.
    """

    scene: np.ndarray
    label: np.ndarray
    kinds: tuple[tuple[str, int, int], ...]
    size: np.ndarray
    axes: np.ndarray
    depth: np.ndarray
    start: np.ndarray
    look: np.ndarray
    place: np.ndarray
    boxes: np.ndarray
    shadow_boxes: np.ndarray


@dataclass(frozen=True)
class FloorTable:
    """Cameras, lights and floors, a scene each; every tensor ends in [b, 1, 1]."""

    position: Float[Tensor, "3 b 1 1"]
    forward: Float[Tensor, "3 b 1 1"]
    right: Float[Tensor, "3 b 1 1"]
    up: Float[Tensor, "3 b 1 1"]
    tangent: Float[Tensor, "b 1 1"]
    look: Float[Tensor, "2 b 1 1"]
    lamp: Float[Tensor, "b 1 1"]
    sky: Float[Tensor, "b 1 1"]
    colour: Float[Tensor, "3 b 1 1"]
    second: Float[Tensor, "3 b 1 1"]
    texture: Float[Tensor, "b 1 1"]
    frequency: Float[Tensor, "b 1 1"]
    cos: Float[Tensor, "b 1 1"]
    sin: Float[Tensor, "b 1 1"]
    phase: Float[Tensor, "2 b 1 1"]


def floor_table(specs: Sequence[SceneSpec], pinholes: Sequence[Pinhole], device: torch.device) -> FloorTable:
    """Collect what the floors' shading reads."""

    def column(values: list) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).movedim(0, -1).to(torch.float32).to(device)[..., None, None]

    floors, cameras = [spec.floor for spec in specs], [spec.camera for spec in specs]
    return FloorTable(
        position=column([pinhole.position for pinhole in pinholes]),
        forward=column([pinhole.forward for pinhole in pinholes]),
        right=column([pinhole.right for pinhole in pinholes]),
        up=column([pinhole.up for pinhole in pinholes]),
        tangent=column([pinhole.tangent for pinhole in pinholes]),
        look=column([(camera.look_x, camera.look_y) for camera in cameras]),
        lamp=column([spec.light.strength * math.sin(spec.light.elevation) for spec in specs]),
        sky=column([spec.light.ambient for spec in specs]),
        colour=column([_linear(floor.rgb) for floor in floors]),
        second=column([_linear(floor.second_rgb) for floor in floors]),
        texture=column([FLOOR_TEXTURES.index(floor.texture) for floor in floors]),
        frequency=column([1 / floor.period for floor in floors]),
        cos=column([math.cos(floor.angle) for floor in floors]),
        sin=column([math.sin(floor.angle) for floor in floors]),
        phase=column([(floor.phase_x, floor.phase_y) for floor in floors]),
    )


def part_table(specs: Sequence[SceneSpec], pinholes: Sequence[Pinhole]) -> PartTable:
    """List the parts of all present objects."""
    keys, columns, hulls = [], [], []
    for number, (spec, pinhole) in enumerate(zip(specs, pinholes, strict=True)):
        light = _towards(spec.light.azimuth, spec.light.elevation)
        view = (*pinhole.position, *pinhole.forward, *pinhole.right, *pinhole.up, pinhole.tangent, *light, spec.light.softness)
        for label, item in enumerate(spec.objects, 1):
            if not item.present:
                continue
            place = (item.x, item.y, item.size, math.cos(item.yaw), math.sin(item.yaw))
            surface = _surface(spec, item, light)
            for part in PARTS[item.shape]:
                keys.append((_KINDS.index(part.kind), number, label))
                columns.append((*view, *place, *part.centre, *part.size, *surface))
                hulls.append((*part.spheres, *(part.spheres[:1] * (_MOST_SPHERES - len(part.spheres)))))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    kinds = [keys[i][0] for i in order]
    spans = tuple((_KINDS[kind], kinds.index(kind), kinds.index(kind) + kinds.count(kind)) for kind in sorted(set(kinds)))
    scene = np.array([keys[i][1] for i in order], dtype=np.int64)
    labels = np.array([keys[i][2] for i in order], dtype=np.int64)
    rows = np.array([columns[i] for i in order], dtype=np.float64).reshape(len(order), _NUM_NUMBERS).T
    hull = np.array([hulls[i] for i in order], dtype=np.float64).reshape(len(order), _MOST_SPHERES, 4).transpose(2, 1, 0)
    return _assemble(scene, labels, spans, rows, hull)


def _assemble(scene: np.ndarray, label: np.ndarray, kinds: tuple, rows: np.ndarray, hull: np.ndarray) -> PartTable:
    """Turn what `part_table` lists (a row for each number, a column for each part) into the object's frame."""
    position, forward, right, up, tangent = rows[0:3], rows[3:6], rows[6:9], rows[9:12], rows[12]
    light, softness = rows[13:16], rows[16]
    x, y, size, cos, sin = rows[17:22]
    centre, part_size, surface = rows[22:25], rows[25:28], rows[28:]

    def turn(vector: np.ndarray) -> np.ndarray:
        return np.stack([cos * vector[0] + sin * vector[1], cos * vector[1] - sin * vector[0], vector[2]])

    def bounds(point_x: np.ndarray, point_y: np.ndarray, point_z: np.ndarray, radius: np.ndarray) -> np.ndarray:
        offset = point_x - position[0], point_y - position[1], point_z - position[2]
        across, height, away = (offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2] for axis in (right, up, forward))
        left, top, last, bottom = sphere_bounds(across, height, away, radius, tangent)
        return np.stack([left.min(0), top.min(0), last.max(0), bottom.max(0)], -1)

    camera = turn(np.stack([position[0] - x, position[1] - y, position[2]])) / size
    ahead, aside, above = turn(forward) / size, turn(right) * (tangent / size), turn(up) * (tangent / size)
    offset = centre - camera
    depth = size * size * (offset[0] * ahead[0] + offset[1] * ahead[1] + offset[2] * ahead[2])

    hull_x = x + size * (cos * hull[0] - sin * hull[1])
    hull_y = y + size * (sin * hull[0] + cos * hull[1])
    hull_z, radius = size * hull[2], size * hull[3]
    fall = hull_z / light[2]
    reach = radius / light[2] + softness * hull_z + 0.15 * size
    cast = bounds(hull_x - fall * light[0], hull_y - fall * light[1], 0 * hull_z, reach)
    touch = bounds(hull_x, hull_y, 0 * hull_z, radius + _CONTACT * size)
    return PartTable(
        scene=scene,
        label=label,
        kinds=kinds,
        size=part_size,
        axes=np.concatenate([ahead, aside, above]),
        depth=depth,
        start=depth * ahead - offset,
        look=np.concatenate([turn(light), camera, centre, surface]),
        place=np.stack([x, y, size, cos, sin, softness]),
        boxes=bounds(hull_x, hull_y, hull_z, radius),
        shadow_boxes=np.concatenate([np.minimum(cast, touch)[:, :2], np.maximum(cast, touch)[:, 2:]], -1),
    )


def _surface(spec: SceneSpec, item: ObjectSpec, light: tuple[float, float, float]) -> tuple[float, ...]:
    floor_light = _BOUNCE * (spec.light.strength * light[2] + spec.light.ambient)
    return (
        *_linear(item.rgb),
        *_linear(item.second_rgb),
        float(TEXTURES.index(item.texture)),
        item.texture_scale,
        shading.MATERIAL_SHINE[item.material],
        shading.MATERIAL_METAL[item.material],
        spec.light.strength,
        spec.light.ambient,
        *(floor_light * value for value in _linear(spec.floor.rgb)),
    )


def _linear(rgb: tuple[float, float, float]) -> tuple[float, float, float]:
    """Turn display values into linear light; the display's curve is taken as a square, whose inverse is exact."""
    return rgb[0] * rgb[0], rgb[1] * rgb[1], rgb[2] * rgb[2]


def _towards(azimuth: float, elevation: float) -> tuple[float, float, float]:
    return math.sin(azimuth) * math.cos(elevation), math.cos(azimuth) * math.cos(elevation), math.sin(elevation)
