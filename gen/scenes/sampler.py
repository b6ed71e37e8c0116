"""The sampler: draws a scene from (seed, scene_id, preset) and from nothing else."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from gen.scenes.camera import Pinhole
from gen.scenes.catalogue import COLOURS, FLOOR_COLOURS, FLOOR_TEXTURES, MATERIALS, SHAPES, TEXTURES, is_held_out
from gen.scenes.placement import Layout
from gen.scenes.shapes import FOOTPRINT
from gen.scenes.spec import CameraSpec, FloorSpec, LightSpec, ObjectSpec, SceneSpec

PRESETS = ("simple", "standard", "hard", "unseen_pairs", "five_objects")

_TRIES_PER_OBJECT = 40
_TRIES_PER_SCENE = 50


@dataclass(frozen=True)
class Difficulty:
    """The ranges that a preset draws from.

    Attributes:
        objects: fewest and most objects.
        size: least and largest `ObjectSpec.size`.
        textures: weight of plain, stripes, checker, dots.
        floors: weight of each of `catalogue.FLOOR_TEXTURES`.
        floor_contrast: least and largest relative brightness step of the floor's texture.
        hidden: the largest share of an object's box that the boxes of nearer objects may cover.
        crowding: probability that an object is put close to an earlier one.
        held_out: probability that an object is drawn from the held-out pairs; they are never drawn when 0, and nothing else when 1.
    """

    objects: tuple[int, int]
    size: tuple[float, float]
    textures: tuple[int, int, int, int]
    floors: tuple[int, int, int, int, int, int]
    floor_contrast: tuple[float, float]
    hidden: float
    crowding: float
    held_out: float


DIFFICULTY = {
    "simple": Difficulty((2, 4), (0.70, 1.05), (8, 1, 0, 0), (4, 1, 0, 1, 0, 0), (0.05, 0.15), 0.2, 0.0, 0.0),
    "standard": Difficulty((3, 6), (0.45, 0.90), (3, 2, 2, 2), (1, 2, 2, 2, 1, 2), (0.15, 0.45), 0.3, 0.0, 0.0),
    "hard": Difficulty((5, 8), (0.40, 0.95), (1, 1, 1, 1), (1, 2, 2, 2, 2, 2), (0.20, 0.60), 0.6, 0.7, 0.4),
    # Only to judge: `simple` with one thing new, pairs of shape and colour, or one object more (of the smaller sizes, so that five fit).
    "unseen_pairs": Difficulty((2, 4), (0.70, 1.05), (8, 1, 0, 0), (4, 1, 0, 1, 0, 0), (0.05, 0.15), 0.2, 0.0, 1.0),
    "five_objects": Difficulty((5, 5), (0.70, 0.90), (8, 1, 0, 0), (4, 1, 0, 1, 0, 0), (0.05, 0.15), 0.2, 0.0, 0.0),
}


def sample_scene(seed: int, scene_id: int, preset: str) -> SceneSpec:
    """Draw a scene; the same arguments always give the same scene.

    Args:
        seed: of the whole data set.
        scene_id: number of the scene in the data set.
        preset: one of `PRESETS`.

    Raises:
        ValueError: if the preset is unknown.
    """
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r} of scenes; choose one of {', '.join(PRESETS)}")
    rng = random.Random(f"scene {preset} {seed} {scene_id}")
    difficulty = DIFFICULTY[preset]
    for _ in range(_TRIES_PER_SCENE):
        camera, light, floor = _camera(rng), _light(rng), _floor(rng, difficulty)
        objects = _objects(rng, preset, Pinhole.of(camera))
        if objects is not None:
            return SceneSpec(preset, seed, scene_id, objects, camera, light, floor)
    raise AssertionError(f"preset {preset} found no room for its objects in {_TRIES_PER_SCENE} tries (seed {seed}, scene {scene_id})")


def _object(rng: random.Random, difficulty: Difficulty) -> ObjectSpec:
    unseen = rng.random() < difficulty.held_out
    shape, colour = rng.choice([(shape, colour) for shape in SHAPES for colour in COLOURS if is_held_out(shape, colour) == unseen])
    texture = rng.choices(TEXTURES, difficulty.textures)[0]
    rgb = jittered(rng, COLOURS[colour], 0.03)
    return ObjectSpec(
        shape=shape,
        colour=colour,
        material=rng.choice(MATERIALS),
        texture=texture,
        rgb=rgb,
        second_rgb=_second(rgb, rng.uniform(0.45, 0.65)),
        texture_scale=rng.uniform(1.3, 2.0),
        x=0.0,
        y=0.0,
        size=rng.uniform(*difficulty.size),
        yaw=rng.uniform(-math.pi, math.pi),
    )


def jittered(rng: random.Random, rgb: tuple[float, float, float], amount: float) -> tuple[float, float, float]:
    """Move every channel by at most `amount`, inside [0, 1]."""
    red, green, blue = (min(max(value + rng.uniform(-amount, amount), 0.0), 1.0) for value in rgb)
    return red, green, blue


def _second(rgb: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    red, green, blue = rgb
    return red * factor, green * factor, blue * factor


def _objects(rng: random.Random, preset: str, pinhole: Pinhole) -> tuple[ObjectSpec, ...] | None:
    difficulty = DIFFICULTY[preset]
    layout = Layout(pinhole, difficulty.hidden)
    placed: list[ObjectSpec] = []
    for _ in range(rng.randint(*difficulty.objects)):
        item = _object(rng, difficulty)
        for _ in range(_TRIES_PER_OBJECT):
            moved = _put(rng, item, placed, difficulty.crowding, pinhole)
            if layout.accepts((*placed, moved)):
                placed.append(moved)
                break
        else:
            return None
    rng.shuffle(placed)
    return tuple(placed)


def _put(rng: random.Random, item: ObjectSpec, placed: list[ObjectSpec], crowding: float, pinhole: Pinhole) -> ObjectSpec:
    if crowding and placed and rng.random() < crowding:
        beside, turn = rng.choice(placed), rng.uniform(-math.pi, math.pi)
        distance = rng.uniform(1.05, 1.3) * (beside.size * FOOTPRINT[beside.shape] + item.size * FOOTPRINT[item.shape])
        return replace(item, x=beside.x + distance * math.cos(turn), y=beside.y + distance * math.sin(turn))
    x, y = pinhole.floor_point(*image_place(rng))
    return replace(item, x=x, y=y)


def image_place(rng: random.Random) -> tuple[float, float]:
    """Draw where in the picture an object could stand, in image units."""
    return rng.uniform(0.08, 0.92), rng.uniform(0.15, 0.95)


def _camera(rng: random.Random) -> CameraSpec:
    return CameraSpec(
        azimuth=math.radians(rng.uniform(-12, 12)),
        elevation=math.radians(rng.uniform(40, 52)),
        distance=rng.uniform(9.5, 10.5),
        look_x=rng.uniform(-0.2, 0.2),
        look_y=rng.uniform(-0.2, 0.2),
        half_angle=math.radians(15.5),
    )


def _light(rng: random.Random) -> LightSpec:
    return LightSpec(
        azimuth=math.radians(rng.choice((-1, 1)) * rng.uniform(20, 150)),
        elevation=math.radians(rng.uniform(45, 65)),
        strength=rng.uniform(0.8, 1.0),
        ambient=rng.uniform(0.40, 0.50),
        softness=rng.uniform(0.10, 0.25),
    )


def _floor(rng: random.Random, difficulty: Difficulty) -> FloorSpec:
    colour = rng.choice(list(FLOOR_COLOURS))
    rgb = jittered(rng, FLOOR_COLOURS[colour], 0.03)
    texture = rng.choices(FLOOR_TEXTURES, difficulty.floors)[0]
    return FloorSpec(
        colour=colour,
        texture=texture,
        rgb=rgb,
        second_rgb=_second(rgb, 1 - rng.uniform(*difficulty.floor_contrast)),
        period=rng.uniform(0.9, 1.6),
        angle=math.radians(rng.uniform(-45, 45)),
        phase_x=rng.random(),
        phase_y=rng.random(),
    )
