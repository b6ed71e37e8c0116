"""Captions say what is present in words of the vocabulary; labels number the same things."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gen.scenes import COLOURS, FLOOR_COLOURS, MATERIALS, PRESETS, SHAPES, TEXTURES, VOCABULARY, caption, labels, make_twin, sample_scene
from gen.scenes.captions import NAMES


@pytest.mark.parametrize("preset", PRESETS)
def test_captions_use_only_the_vocabulary(preset):
    for scene_id in range(40):
        assert set(caption(sample_scene(4, scene_id, preset)).split()) <= set(VOCABULARY)


def test_the_readme_prompt_is_in_the_vocabulary():
    assert {"red", "circle", "with", "blue", "background"} <= set(VOCABULARY)


def test_every_word_of_the_vocabulary_is_used():
    spec = sample_scene(5, 0, "simple")
    floors = [replace(spec.floor, colour=colour) for colour in FLOOR_COLOURS]
    looks = [(SHAPES[i % 8], tuple(COLOURS)[i // 2 % 8], MATERIALS[i % 3], TEXTURES[i % 4]) for i in range(24)]
    items = [replace(spec.objects[0], shape=s, colour=c, material=m, texture=t) for s, c, m, t in looks]
    scenes = [replace(spec, scene_id=i, floor=floors[i % 5], objects=(items[i % 24],)) for i in range(600)]
    words = {word for scene in [*scenes, replace(spec, objects=())] for word in caption(scene).split()}
    assert words == set(VOCABULARY) - {"and"}


def test_every_object_is_named_with_its_colour():
    for scene_id in range(50):
        spec = sample_scene(6, scene_id, "standard")
        phrases, ending = caption(spec).rsplit(" on a " if " on a " in caption(spec) else " with ", 1)
        assert spec.floor.colour in ending
        for item, phrase in zip(spec.objects, phrases.split(" and "), strict=True):
            assert phrase.split()[-2] == item.colour
            assert phrase.split()[-1] in NAMES[item.shape]


def test_an_absent_object_is_neither_named_nor_labelled():
    spec = sample_scene(0, 0, "simple")
    removed = make_twin(spec, "remove", 0)
    before, after = caption(removed.before), caption(removed.after)
    assert before.count(" and ") == after.count(" and ") + 1
    tables = labels([removed.after], 9)
    assert all(table[0, removed.object_index] == -1 for table in tables.values())


def test_a_floor_without_objects_is_empty(make_scene):
    assert caption(make_scene()) == "an empty grey floor"


def test_labels_are_positions_in_the_catalogue():
    specs = [sample_scene(0, scene_id, "simple") for scene_id in range(5)]
    tables = labels(specs, 6)
    for row, spec in enumerate(specs):
        for column, item in enumerate(spec.objects, 1):
            assert SHAPES[tables["shape"][row, column]] == item.shape
            assert list(COLOURS)[tables["colour"][row, column]] == item.colour
            assert MATERIALS[tables["material"][row, column]] == item.material
        assert (tables["shape"][row, len(spec.objects) + 1 :] == -1).all()
        assert tables["shape"][row, 0] == -1


def test_too_few_regions_are_refused(make_object, make_scene):
    scene = make_scene(make_object(), replace(make_object("box"), x=2.0))
    with pytest.raises(ValueError, match="n=2"):
        labels([scene], 2)
