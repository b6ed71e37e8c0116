"""Sampled scenes depend on (seed, number, preset) only, keep their preset's promises, and hold pairs out."""

from __future__ import annotations

import pytest
import torch

from gen.scenes import COLOURS, PRESETS, SHAPES, is_held_out, render, sample_scene

NUM_SCENES = 60
COUNTS = {"simple": (2, 4), "standard": (3, 6), "hard": (5, 8), "unseen_pairs": (2, 4), "five_objects": (5, 5)}
LEAST_VISIBLE = {"simple": 0.6, "standard": 0.5, "hard": 0.2, "unseen_pairs": 0.6, "five_objects": 0.6}


@pytest.fixture(scope="module")
def scenes():
    return {preset: [sample_scene(11, scene_id, preset) for scene_id in range(NUM_SCENES)] for preset in PRESETS}


def test_a_scene_does_not_depend_on_which_were_drawn_before(scenes):
    assert [sample_scene(11, scene_id, "simple") for scene_id in (9, 4, 9)] == [scenes["simple"][i] for i in (9, 4, 9)]


def test_seed_number_and_preset_all_matter(scenes):
    first = scenes["simple"][0]
    assert first.objects != sample_scene(12, 0, "simple").objects
    assert first.objects != scenes["simple"][1].objects
    assert first.objects != scenes["standard"][0].objects


def test_an_unknown_preset_is_refused():
    with pytest.raises(ValueError, match=r"'easy'.*simple, standard, hard"):
        sample_scene(0, 0, "easy")


@pytest.mark.parametrize("preset", PRESETS)
def test_numbers_of_objects_span_the_range(scenes, preset):
    counts = {len(spec.objects) for spec in scenes[preset]}
    assert (min(counts), max(counts)) == COUNTS[preset]


def test_each_shape_and_each_colour_miss_exactly_one_pair():
    held = [(shape, colour) for shape in SHAPES for colour in COLOURS if is_held_out(shape, colour)]
    assert sorted(shape for shape, _ in held) == sorted(SHAPES)
    assert sorted(colour for _, colour in held) == sorted(COLOURS)


def test_held_out_pairs_occur_in_hard_and_unseen_scenes_only(scenes):
    unseen = {preset: sum(is_held_out(item.shape, item.colour) for spec in scenes[preset] for item in spec.objects) for preset in PRESETS}
    assert unseen["simple"] == unseen["standard"] == unseen["five_objects"] == 0
    assert unseen["unseen_pairs"] == sum(len(spec.objects) for spec in scenes["unseen_pairs"])
    assert unseen["hard"] > NUM_SCENES


@pytest.mark.parametrize("preset", PRESETS)
def test_objects_are_whole_in_the_picture_and_visible_enough(scenes, preset):
    rendering = render(scenes[preset], 64)
    amodal = rendering.amodal[:, 1:]
    labels = torch.arange(1, amodal.shape[1] + 1)
    visible = rendering.label_map[:, None] == labels[None, :, None, None]
    shares = visible.sum((2, 3)) / amodal.sum((2, 3)).clamp(min=1)
    present = torch.tensor([[label < len(spec.objects) for label in range(amodal.shape[1])] for spec in scenes[preset]])
    assert shares[present].min() >= LEAST_VISIBLE[preset]
    assert not amodal[:, :, [0, -1]].any()
    assert not amodal[:, :, :, [0, -1]].any()


def test_simple_objects_have_a_moderate_size(scenes):
    boxes = render(scenes["simple"], 64).boxes[:, 1:]
    widths = (boxes[..., 2] - boxes[..., 0])[boxes[..., 2] > 0]
    assert 0.2 < widths.median() < 0.3
    assert widths.quantile(0.05) > 0.14
    assert widths.quantile(0.95) < 0.4


def test_hard_scenes_hide_more_than_simple_ones(scenes):
    hidden = {}
    for preset in ("simple", "hard"):
        rendering = render(scenes[preset], 64)
        hidden[preset] = 1 - (rendering.label_map > 0).sum() / rendering.amodal[:, 1:].sum()
    assert hidden["hard"] > 2 * hidden["simple"]
