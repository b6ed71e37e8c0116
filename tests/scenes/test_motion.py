"""Clips begin with the scene, move something, and stay legal in every frame."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from gen.scenes import PRESETS, clip, render, sample_scene
from gen.scenes.shapes import FOOTPRINT


@pytest.mark.parametrize("preset", PRESETS)
def test_frames_are_legal_and_something_moves(preset):
    for scene_id in range(5):
        spec = sample_scene(8, scene_id, preset)
        frames = clip(spec, 12, 0)
        assert len(frames) == 12
        assert frames[0] == spec
        assert max(math.dist((a.x, a.y), (b.x, b.y)) for frame in frames for a, b in zip(spec.objects, frame.objects, strict=True)) > 0.05
        for before, after in pairwise(frames):
            for old, new in zip(before.objects, after.objects, strict=True):
                assert replace(new, x=old.x, y=old.y, yaw=old.yaw) == old
                assert math.hypot(new.x - old.x, new.y - old.y) < 0.25
            for index, a in enumerate(after.objects):
                for b in after.objects[:index]:
                    assert math.hypot(a.x - b.x, a.y - b.y) >= a.size * FOOTPRINT[a.shape] + b.size * FOOTPRINT[b.shape]
        amodal = render(frames, 64).amodal[:, 1:]
        assert not amodal[:, :, [0, -1]].any()
        assert not amodal[:, :, :, [0, -1]].any()


def test_a_clip_follows_from_its_seed():
    spec = sample_scene(8, 0, "simple")
    assert clip(spec, 6, 1) == clip(spec, 6, 1)
    assert clip(spec, 6, 1) == clip(spec, 9, 1)[:6]
    assert clip(spec, 6, 1) != clip(spec, 6, 2)


def test_a_clip_without_frames_is_refused():
    with pytest.raises(ValueError, match="0 frames"):
        clip(sample_scene(8, 0, "simple"), 0, 0)
