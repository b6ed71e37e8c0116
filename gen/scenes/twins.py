"""Counterfactual twins: the same scene with exactly one thing changed, legal in the same way as a sampled scene."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from gen.scenes.camera import Pinhole
from gen.scenes.catalogue import COLOURS, YAW_PERIOD, is_held_out
from gen.scenes.placement import Layout
from gen.scenes.sampler import DIFFICULTY, image_place, jittered
from gen.scenes.spec import ObjectSpec, SceneSpec

OPERATIONS = ("move", "remove", "rotate", "resize", "recolour", "swap", "insert", "flip")

_TRIES = 60
_LEAST_MOVE = 0.15  # of the picture's width
_LEAST_TURN = 30  # degrees, given the shape's symmetry; a texture is taken to have none, though a half turn may show the same


@dataclass(frozen=True)
class Twin:
    """A scene before and after an edit.

    Attributes:
        before: the scene that is edited; objects keep their numbers, so that labels of both sides name the same things.
        after: what the edit should lead to.
        operation: one of `OPERATIONS`.
        object_index: number of the edited object, from 1, as in the label map.
        other_index: the second object of a swap, else 0.
    """

    before: SceneSpec
    after: SceneSpec
    operation: str
    object_index: int
    other_index: int = 0


def make_twin(spec: SceneSpec, operation: str, seed: int) -> Twin | None:
    """Change one thing of a scene.

    Args:
        spec: the scene.
        operation: one of `OPERATIONS`; for `insert` an object is absent before and present after.
        seed: which of the possible twins.

    Returns:
        The twin, or None if none was found in a fixed number of tries (a scene of spheres cannot be rotated visibly).

    Raises:
        ValueError: if the operation is unknown.
    """
    if operation not in OPERATIONS:
        raise ValueError(f"unknown operation {operation!r} of a twin; choose one of {', '.join(OPERATIONS)}")
    rng = random.Random(f"twin {operation} {seed} {spec.preset} {spec.seed} {spec.scene_id}")
    present = [index for index, item in enumerate(spec.objects) if item.present]
    if not present or (operation == "swap" and len(present) < 2):
        return None
    pinhole = Pinhole.of(spec.camera)
    layout = Layout(pinhole, DIFFICULTY[spec.preset].hidden)
    for _ in range(_TRIES):
        index = rng.choice(present)
        other = rng.choice([i for i in present if i != index]) if operation == "swap" else None
        objects = _swapped(spec.objects, index, other) if other is not None else _changed(spec, index, operation, pinhole, rng)
        if objects is not None and all(layout.accepts(objects, changed) for changed in (index, other) if changed is not None):
            before, after = spec, replace(spec, objects=objects)
            if operation == "insert":
                before, after = after, before
            return Twin(before, after, operation, index + 1, 0 if other is None else other + 1)
    return None


def _changed(spec: SceneSpec, index: int, operation: str, pinhole: Pinhole, rng: random.Random) -> tuple[ObjectSpec, ...] | None:
    item = _CHANGES[operation](spec.objects[index], spec.preset, pinhole, rng)
    return None if item is None else (*spec.objects[:index], item, *spec.objects[index + 1 :])


def _swapped(objects: tuple[ObjectSpec, ...], first: int, second: int) -> tuple[ObjectSpec, ...] | None:
    a, b = objects[first], objects[second]
    if (a.shape, a.colour) == (b.shape, b.colour):
        return None  # nobody could tell
    result = list(objects)
    result[first], result[second] = replace(a, x=b.x, y=b.y), replace(b, x=a.x, y=a.y)
    return tuple(result)


def _move(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    old_x, old_y = pinhole.project(item.x, item.y, 0.0)
    new_x, new_y = image_place(rng)
    if math.hypot(new_x - old_x, new_y - old_y) < _LEAST_MOVE:
        return None
    x, y = pinhole.floor_point(new_x, new_y)
    return replace(item, x=x, y=y)


def _remove(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    return replace(item, present=False)


def _rotate(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    period = YAW_PERIOD[item.shape] if item.texture == "plain" else 360
    if period == 0:
        return None
    degrees = rng.choice((-1, 1)) * rng.uniform(_LEAST_TURN, period - _LEAST_TURN)
    yaw = item.yaw + math.radians(degrees)
    return replace(item, yaw=math.atan2(math.sin(yaw), math.cos(yaw)))


def _flip(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    """Mirror an object in the vertical plane that holds the camera's line of sight to it.

    Every shape is its own mirror image in the plane through its axes x and z, so its mirror image in a plane that stands at the angle
    `sight` is the shape itself with its axis x at 2 * sight - yaw. A texture could not be mirrored by a turn.
    """
    period = YAW_PERIOD[item.shape]
    if period == 0 or item.texture != "plain":
        return None
    sight = math.atan2(item.y - pinhole.position[1], item.x - pinhole.position[0])
    if abs(math.remainder(math.degrees(2 * (sight - item.yaw)), period)) < _LEAST_TURN:
        return None
    return replace(item, yaw=math.remainder(2 * sight - item.yaw, 2 * math.pi))


def _resize(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    factor = rng.choice((rng.uniform(0.6, 0.8), rng.uniform(1.25, 1.6)))
    return replace(item, size=item.size * factor)


def _recolour(item: ObjectSpec, preset: str, pinhole: Pinhole, rng: random.Random) -> ObjectSpec | None:
    unseen_allowed = DIFFICULTY[preset].held_out > 0
    colours = [name for name in COLOURS if name != item.colour and (unseen_allowed or not is_held_out(item.shape, name))]
    colour = rng.choice(colours)
    red, green, blue = jittered(rng, COLOURS[colour], 0.03)
    darker = max(item.second_rgb) / max(item.rgb)
    return replace(item, colour=colour, rgb=(red, green, blue), second_rgb=(red * darker, green * darker, blue * darker))


_CHANGES: dict[str, Callable] = {
    "move": _move,
    "remove": _remove,
    "insert": _remove,
    "rotate": _rotate,
    "flip": _flip,
    "resize": _resize,
    "recolour": _recolour,
}
