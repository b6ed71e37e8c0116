"""Builders of small known scenes: plain matte objects on a plain grey floor."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from gen.scenes import COLOURS, CameraSpec, FloorSpec, LightSpec, ObjectSpec, SceneSpec


def build_object(shape: str = "sphere", x: float = 0.0, y: float = 0.0, **changes) -> ObjectSpec:
    colour = changes.get("colour", "red")
    settings = {
        "colour": colour,
        "material": "matte",
        "texture": "plain",
        "rgb": COLOURS[colour],
        "second_rgb": (0.1, 0.1, 0.1),
        "texture_scale": 1.5,
        "size": 0.8,
        "yaw": 0.4,
    }
    return ObjectSpec(shape=shape, x=x, y=y, **{**settings, **changes})


def build_scene(*objects: ObjectSpec) -> SceneSpec:
    camera = CameraSpec(azimuth=0.1, elevation=math.radians(45), distance=10.0, look_x=0.1, look_y=-0.1, half_angle=math.radians(15.5))
    light = LightSpec(azimuth=math.radians(60), elevation=math.radians(50), strength=0.9, ambient=0.45, softness=0.2)
    grey = (0.55, 0.55, 0.55)
    floor = FloorSpec("grey", "plain", rgb=grey, second_rgb=grey, period=1.0, angle=0.0, phase_x=0.0, phase_y=0.0)
    return SceneSpec("simple", 0, 0, objects, camera, light, floor)


@pytest.fixture
def make_object() -> Callable[..., ObjectSpec]:
    return build_object


@pytest.fixture
def make_scene() -> Callable[..., SceneSpec]:
    return build_scene
