"""Cases ask for what the truth shows: plans end at the true boxes, and nothing but the edit differs between source and truth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gen.editing.plan import Insert, Turn, apply
from gen.evaluation.cases import (
    DEVELOPMENT_SEED,
    DONOR,
    HELD_OUT_SEED,
    OPERATIONS,
    SPLITS,
    Cases,
    build_cases,
    clean_pixels,
    object_area,
    shadow_area,
)
from gen.regions import RegionLatents, RegionPose, Regions
from gen.scenes import is_held_out, make_twin, render, rotation_period, sample_scene

COUNT = 8
CARRIED = ("move", "resize", "flip", "rotate", "swap", "insert", "move_two", "interpolate_frame")
CHANGED_FIELDS = {
    "move": {"x", "y"},
    "move_two": {"x", "y"},
    "swap": {"x", "y"},
    "resize": {"size"},
    "flip": {"yaw"},
    "rotate": {"yaw"},
    "remove": {"present"},
    "insert": {"present"},
    "interpolate_frame": {"x", "y"},
    "interpolate_look": {"colour", "rgb", "second_rgb"},
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Cases]:
    return {operation: build_cases(operation, COUNT, 64, 6) for operation in OPERATIONS}


def measured(regions: Regions) -> RegionLatents:
    return RegionLatents(torch.zeros(*regions.valid.shape, 1, 1), RegionPose.from_regions(regions), regions.valid)


def after_the_plan(cases: Cases, row: int) -> RegionLatents:
    sources = {} if cases.donor_regions is None else {DONOR: measured(cases.donor_regions[row])}
    return apply(cases.plans[row], measured(cases.regions[row]), sources)


@pytest.mark.parametrize("operation", CARRIED)
def test_a_plan_carries_the_measured_boxes_to_the_true_ones(cases, operation):
    chosen = cases[operation]
    for row, numbers in enumerate(chosen.edited):
        latents = after_the_plan(chosen, row)
        assert latents.valid[0, list(numbers)].all()
        torch.testing.assert_close(latents.pose.boxes()[0, list(numbers)], chosen.new_boxes[row], atol=1e-5, rtol=0)
        others = [k for k in range(1, 6) if k not in numbers]
        assert torch.equal(latents.pose.boxes()[0, others], measured(chosen.regions[row]).pose.boxes()[0, others])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_specs_differ_in_what_the_operation_says_at_the_objects_that_it_names(cases, operation):
    chosen = cases[operation]
    for before, after, numbers in zip(chosen.before, chosen.after, chosen.edited, strict=True):
        assert len(numbers) == {"reconstruct": 0, "no_op": 0, "swap": 2, "move_two": 2}.get(operation, 1) == chosen.old_boxes.shape[1]
        assert replace(before, objects=after.objects) == after
        for k, (old, new) in enumerate(zip(before.objects, after.objects, strict=True), 1):
            fields = {name for name in vars(old) if getattr(old, name) != getattr(new, name)}
            assert fields <= CHANGED_FIELDS[operation] and fields if k in numbers else not fields


@pytest.mark.parametrize("operation", OPERATIONS)
def test_pictures_and_regions_are_those_of_the_specs(cases, operation):
    chosen = cases[operation]
    for specs, pictures, regions in (
        (chosen.before, chosen.source, chosen.regions),
        (chosen.after, chosen.truth, chosen.truth_regions),
    ):
        rendering = render(specs, 64)
        assert torch.equal(rendering.pixel_values, pictures) and torch.equal(rendering.label_map, regions.label_map())


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("reconstruct", "no_op")])
def test_edited_objects_are_seen_and_lie_in_the_object_area(cases, operation):
    chosen, area = cases[operation], object_area(cases[operation])
    before, after = render(chosen.before, 64), render(chosen.after, 64)
    for row, numbers in enumerate(chosen.edited):
        for rendering, regions in ((before, chosen.regions), (after, chosen.truth_regions)):
            for k in numbers:
                mask, amodal = regions.masks[row, k], rendering.amodal[row, k]
                assert mask.sum() >= 0.6 * amodal.sum()
                assert not (amodal & ~area[row]).any()
    assert (shadow_area(chosen).any() or operation == "interpolate_look") and not (shadow_area(chosen) & area).any()


def test_the_empty_picture_is_the_truth_without_the_object(cases):
    assert torch.equal(cases["remove"].empty, cases["remove"].truth)
    assert torch.equal(cases["insert"].empty, cases["insert"].source)
    assert torch.equal(cases["no_op"].empty, cases["no_op"].source)
    move = cases["move"]
    for row, (number,) in enumerate(move.edited):
        differs = (move.empty[row] - move.truth[row]).abs().amax(0) > 0.02
        assert differs[move.truth_regions.masks[row, number]].float().mean() > 0.95


@pytest.mark.parametrize("operation", ["reconstruct", "no_op"])
def test_no_edit_leaves_everything_clean(cases, operation):
    chosen = cases[operation]
    assert torch.equal(chosen.source, chosen.truth) and clean_pixels(chosen).all()
    assert not object_area(chosen).any() and not shadow_area(chosen).any()
    assert all(plan.edits == () for plan in chosen.plans)


def test_areas_of_known_boxes_and_pixels(cases):
    """The area of a box is its pixels; of what differs by less than a grey level nothing counts."""
    move = cases["move"]
    boxes = torch.tensor([[[0.0, 0.0, 0.25, 0.5]]]).expand(COUNT, -1, -1)
    truth = move.source.clone()
    truth[:, 0, 0, 0] += 0.5  # in the box
    truth[:, 1, 63, 60] += 0.5  # beside it
    truth[:, 2, 63, 50] += 0.5 / 255
    known = replace(move, old_boxes=boxes, new_boxes=torch.zeros_like(boxes), truth=truth)
    assert (object_area(known).sum((1, 2)) == 16 * 32).all() and object_area(known)[:, :32, :16].all()
    assert ((~clean_pixels(known)).sum((1, 2)) == 2).all()
    assert (shadow_area(known).sum((1, 2)) == 1).all() and shadow_area(known)[:, 63, 60].all()


def test_a_turn_is_that_of_the_specs(cases):
    rotate = cases["rotate"]
    for row, (number,) in enumerate(rotate.edited):
        turn = next(edit for edit in rotate.plans[row].edits if isinstance(edit, Turn))
        old, new = (spec.objects[number - 1].yaw for spec in (rotate.before[row], rotate.after[row]))
        assert abs(math.remainder(old + math.radians(turn.degrees) - new, 2 * math.pi)) < 1e-9


def test_a_turn_is_seen_whatever_the_symmetry():
    """Textured objects are turned by any angle; 170 degrees of one that repeats every half turn are 10, and such a scene is passed over."""

    def seen(before, after, number) -> float:
        old, new = (spec.objects[number - 1] for spec in (before, after))
        return abs(math.remainder(math.degrees(new.yaw - old.yaw), rotation_period(old)))

    rotate = build_cases("rotate", 60, 16, 6)
    turns = [seen(*scenes, *numbers) for *scenes, numbers in zip(rotate.before, rotate.after, rotate.edited, strict=True)]
    assert min(turns) >= 29.99
    twins = [make_twin(sample_scene(DEVELOPMENT_SEED, number, "simple"), "rotate", number) for number in range(rotate.before[-1].scene_id)]
    passed_over = [seen(twin.before, twin.after, twin.object_index) for twin in twins if twin is not None]
    assert any(turn < 29.99 for turn in passed_over), "there is something to pass over"


def test_what_is_inserted_stands_alone_in_the_donor_on_another_floor(cases):
    insert = cases["insert"]
    for row, (number,) in enumerate(insert.edited):
        assert insert.donor_regions.valid[row].nonzero().flatten().tolist() == [0, number]
        edit = insert.plans[row].edits[0]
        assert isinstance(edit, Insert) and edit.source_region == number and not insert.regions.valid[row, number]
        assert insert.before[row].floor == sample_scene(insert.before[row].seed, insert.before[row].scene_id, "simple").floor
        old, new = insert.donor_regions.boxes()[row, number], insert.new_boxes[row, 0]
        assert (old - new).abs().max() > 0.05, "it has to be carried over"


@pytest.mark.parametrize("operation", ["interpolate_look", "interpolate_frame"])
def test_interpolation_leads_from_the_source_to_the_donor(operation):
    series = [build_cases(operation, COUNT, 32, 6, weight=weight) for weight in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert all(torch.equal(item.source, series[0].source) and torch.equal(item.donor, series[0].donor) for item in series)
    assert torch.equal(series[0].truth, series[0].source) and torch.equal(series[-1].truth, series[-1].donor)
    assert [item.weight for item in series] == [0, 0.25, 0.5, 0.75, 1]
    for row, (number,) in enumerate(series[0].edited):
        objects = [item.after[row].objects[number - 1] for item in series]
        values = torch.tensor([item.rgb if operation == "interpolate_look" else (item.x, item.y) for item in objects])
        torch.testing.assert_close(values[2], (values[0] + values[4]) / 2)
        torch.testing.assert_close(values[1], 0.75 * values[0] + 0.25 * values[4])


@pytest.mark.parametrize("operation", ["move", "swap", "flip"])
def test_fewer_cases_are_the_first_of_more(cases, operation):
    fewer = build_cases(operation, 3, 64, 6)
    assert fewer.before == cases[operation].before[:3] and fewer.plans == cases[operation].plans[:3]


@pytest.mark.parametrize("split", SPLITS)
def test_splits_hold_what_they_say_and_no_scene_is_trained_on(split):
    chosen = build_cases("remove", 12, 32, 6, split)
    for spec in chosen.before:
        assert spec.seed == DEVELOPMENT_SEED != HELD_OUT_SEED
        unseen = [is_held_out(item.shape, item.colour) for item in spec.objects]
        assert all(unseen) if split == "unseen_pairs" else not any(unseen)
        assert len(spec.objects) == 5 if split == "five_objects" else 2 <= len(spec.objects) <= 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operation": "explode"}, "explode.*move_two"),
        ({"split": "hard"}, "hard.*five_objects"),
        ({"count": 0}, "count=0"),
        ({"weight": 1.5}, "weight=1.5"),
        ({"num_regions": 2}, "raise num_regions"),
    ],
)
def test_what_cannot_be_built_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        build_cases(**({"operation": "move", "count": 2, "resolution": 32, "num_regions": 6} | changes))
