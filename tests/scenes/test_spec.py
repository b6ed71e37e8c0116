"""A spec survives JSON exactly and refuses what cannot be rendered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gen.scenes import PRESETS, SceneSpec, make_twin, sample_scene


@pytest.mark.parametrize("preset", PRESETS)
def test_json_gives_back_an_equal_spec(preset):
    for scene_id in range(20):
        spec = sample_scene(3, scene_id, preset)
        assert SceneSpec.from_json(spec.to_json()) == spec


def test_json_remembers_that_an_object_is_absent():
    removed = make_twin(sample_scene(0, 0, "simple"), "remove", 0)
    assert SceneSpec.from_json(removed.after.to_json()) == removed.after


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"objects": 3}', '{"objects": [{"shape": "box"}]}'])
def test_text_that_is_no_scene_is_refused(text):
    with pytest.raises(ValueError, match="not a scene"):
        SceneSpec.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"), [("shape", "pyramid"), ("colour", "pink"), ("material", "glass"), ("texture", "fur"), ("size", 0.0)]
)
def test_unknown_things_are_refused_with_their_value(make_object, field, value):
    with pytest.raises(ValueError, match=str(value)):
        replace(make_object("box"), **{field: value})
