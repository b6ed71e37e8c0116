"""Motion: short clips in which objects slide and turn on the floor without touching or leaving the picture."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from gen.scenes.camera import Pinhole
from gen.scenes.placement import Layout
from gen.scenes.sampler import DIFFICULTY
from gen.scenes.spec import ObjectSpec, SceneSpec

_SLIDE = (0.04, 0.16)  # world units a frame
_TURN = (4.0, 14.0)  # degrees a frame
_SHARE = 0.7  # of the objects slide, and as many turn


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
    velocities = [_velocity(rng, index == leader) for index in range(len(spec.objects))]
    frames = [spec]
    while len(frames) < num_frames:
        objects = frames[-1].objects
        for index, (speed_x, speed_y, spin) in enumerate(velocities):
            stepped = (*objects[:index], _step(objects[index], velocities[index]), *objects[index + 1 :])
            if layout.accepts(stepped, index):
                objects = stepped
            else:
                velocities[index] = (-speed_x, -speed_y, -spin)
        frames.append(replace(spec, objects=objects))
    return frames


def _velocity(rng: random.Random, leads: bool) -> tuple[float, float, float]:
    speed, direction = rng.uniform(*_SLIDE), rng.uniform(-math.pi, math.pi)
    spin = math.radians(rng.choice((-1, 1)) * rng.uniform(*_TURN))
    slides, turns = rng.random() < _SHARE or leads, rng.random() < _SHARE
    return slides * speed * math.cos(direction), slides * speed * math.sin(direction), turns * spin


def _step(item: ObjectSpec, velocity: tuple[float, float, float]) -> ObjectSpec:
    yaw = item.yaw + velocity[2]
    return replace(item, x=item.x + velocity[0], y=item.y + velocity[1], yaw=math.atan2(math.sin(yaw), math.cos(yaw)))
