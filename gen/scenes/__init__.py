"""The synthetic world: sample a scene, render it, describe it, set it in motion, change one thing in it."""

from __future__ import annotations

from gen.scenes.captions import VOCABULARY, caption, labels
from gen.scenes.catalogue import COLOURS, FLOOR_COLOURS, MATERIALS, SHAPES, TEXTURES, YAW_PERIOD, is_held_out
from gen.scenes.motion import clip
from gen.scenes.raycast import Rendering, render
from gen.scenes.rotations import depths, relative_camera, rotation_period, rotation_periods, viewed_rotations
from gen.scenes.sampler import PRESETS, sample_scene
from gen.scenes.spec import CameraSpec, FloorSpec, LightSpec, ObjectSpec, SceneSpec
from gen.scenes.twins import OPERATIONS, Twin, make_twin
from gen.scenes.views import another_view

__all__ = [
    "COLOURS",
    "FLOOR_COLOURS",
    "MATERIALS",
    "OPERATIONS",
    "PRESETS",
    "SHAPES",
    "TEXTURES",
    "VOCABULARY",
    "YAW_PERIOD",
    "CameraSpec",
    "FloorSpec",
    "LightSpec",
    "ObjectSpec",
    "Rendering",
    "SceneSpec",
    "Twin",
    "another_view",
    "caption",
    "clip",
    "depths",
    "is_held_out",
    "labels",
    "make_twin",
    "relative_camera",
    "render",
    "rotation_period",
    "rotation_periods",
    "sample_scene",
    "viewed_rotations",
]
