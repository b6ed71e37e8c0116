"""Motion: short clips in which objects slide and turn on the floor without touching or leaving the picture."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from gen.scenes.camera import Pinhole
from gen.scenes.placement import Layout
from gen.scenes.sampler import DIFFICULTY
from gen.scenes.spec import ObjectSpec, SceneSpec

_SLIDE = (0.08, 0.24)  # world units a frame
_TURN = (5.0, 18.0)  # degrees a frame
_SHARE = 0.7  # of the objects slide, and as many turn
_TRIES = 12  # to find a velocity that is legal at once


def clip(spec: SceneSpec, num_frames: int, seed: int) -> list[SceneSpec]:
    """Let the objects of a scene move.

    Args:
        spec: the first frame.
        num_frames: length of the clip, at least 1.
        seed: which of the possible clips.

    Returns:
        The frames. An object whose next step would be illegal turns back, so every frame is as legal as the first.

    Raises:
        ValueError: if `num_frames` is smaller than 1.
    """
    if num_frames < 1:
        raise ValueError(f"a clip of {num_frames} frames; use at least 1")
    rng = random.Random(f"clip {seed} {spec.preset} {spec.seed} {spec.scene_id}")
    layout = Layout(Pinhole.of(spec.camera), DIFFICULTY[spec.preset].hidden)
    present = [index for index, item in enumerate(spec.objects) if item.present]
    leader = rng.choice(present) if present else None  # at least this one slides
    velocities = [_velocity(rng, spec, index, layout, index == leader) for index in range(len(spec.objects))]
    frames = [spec]
    while len(frames) < num_frames:
        objects = frames[-1].objects
        for index, (speed_x, speed_y, spin) in enumerate(velocities):
            stepped = _stepped(objects, index, velocities[index])
            if layout.accepts(stepped, index):
                objects = stepped
            else:
                velocities[index] = (-speed_x, -speed_y, -spin)
        frames.append(replace(spec, objects=objects))
    return frames


def _velocity(rng: random.Random, spec: SceneSpec, index: int, layout: Layout, leads: bool) -> tuple[float, float, float]:
    """Draw (x, y, turn) a frame, if possible one whose first step is legal."""
    slides, turns = rng.random() < _SHARE or leads, rng.random() < _SHARE
    for _ in range(_TRIES):
        speed, direction = slides * rng.uniform(*_SLIDE), rng.uniform(-math.pi, math.pi)
        spin = turns * math.radians(rng.choice((-1, 1)) * rng.uniform(*_TURN))
        velocity = speed * math.cos(direction), speed * math.sin(direction), spin
        if layout.accepts(_stepped(spec.objects, index, velocity), index):
            break
    return velocity


def _stepped(objects: tuple[ObjectSpec, ...], index: int, velocity: tuple[float, float, float]) -> tuple[ObjectSpec, ...]:
    item = objects[index]
    yaw = item.yaw + velocity[2]
    moved = replace(item, x=item.x + velocity[0], y=item.y + velocity[1], yaw=math.atan2(math.sin(yaw), math.cos(yaw)))
    return (*objects[:index], moved, *objects[index + 1 :])
