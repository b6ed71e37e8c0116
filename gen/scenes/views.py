"""Other views: the same scene seen from another place, with every object still inside the picture and visible."""

from __future__ import annotations

import math
import random
from dataclasses import replace

from gen.scenes.camera import Pinhole
from gen.scenes.placement import Layout
from gen.scenes.sampler import DIFFICULTY
from gen.scenes.spec import CameraSpec, SceneSpec

_ELEVATIONS = (36.0, 58.0)  # degrees; outside, objects hide one another or are seen from above only
_STEEPER = 0.3  # how much the elevation changes for a change of azimuth
_LEAST_SHARE = 0.3  # of the largest orbit; a smaller one would show nothing new
_TRIES = 60


def another_view(spec: SceneSpec, seed: int, max_degrees: float) -> SceneSpec | None:
    """Move the camera of a scene on the sphere around the point that it looks at; nothing in the world moves, lamp included.

    Args:
        spec: the scene.
        seed: which of the possible views.
        max_degrees: largest change of azimuth, in (0, 180]; the elevation changes by up to 0.3 of that, between 36 and 58 degrees.

    Returns:
        The scene with another camera, as legal as the first, or None if none was found in a fixed number of tries.

    Raises:
        ValueError: if `max_degrees` is out of range.
    """
    if not 0 < max_degrees <= 180:
        raise ValueError(f"max_degrees={max_degrees} of another view is outside (0, 180]")
    rng = random.Random(f"view {seed} {spec.preset} {spec.seed} {spec.scene_id}")
    for _ in range(_TRIES):
        camera = _orbited(spec.camera, rng, max_degrees)
        layout = Layout(Pinhole.of(camera), DIFFICULTY[spec.preset].hidden)
        if all(layout.accepts(spec.objects, index) for index in range(len(spec.objects))):
            return replace(spec, camera=camera)
    return None


def _orbited(camera: CameraSpec, rng: random.Random, max_degrees: float) -> CameraSpec:
    azimuth = rng.choice((-1, 1)) * rng.uniform(_LEAST_SHARE, 1.0) * max_degrees
    steeper = rng.uniform(-_STEEPER, _STEEPER) * max_degrees
    elevation = min(max(math.degrees(camera.elevation) + steeper, _ELEVATIONS[0]), _ELEVATIONS[1])
    return replace(camera, azimuth=camera.azimuth + math.radians(azimuth), elevation=math.radians(elevation))
