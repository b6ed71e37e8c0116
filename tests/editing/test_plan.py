"""Plans survive JSON unchanged, and nothing unknown gets in."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gen.editing import operations as op
from gen.editing import plan as plans
from gen.editing.plan import EditPlan, apply, from_json, to_json

REGIONS, NUMBERS, NAMES = st.integers(1, 9), st.floats(-2, 2), st.text(max_size=10)
EDITS = st.one_of(
    st.builds(plans.Move, REGIONS, NUMBERS, NUMBERS),
    st.builds(plans.Resize, REGIONS, NUMBERS, st.none() | NUMBERS),
    st.builds(plans.Flip, REGIONS),
    st.builds(plans.Rotate, REGIONS, NUMBERS),
    st.builds(plans.Remove, REGIONS),
    st.builds(plans.Swap, REGIONS, REGIONS),
    st.builds(plans.Copy, REGIONS, NUMBERS, NUMBERS),
    st.builds(plans.Insert, NAMES, REGIONS, NUMBERS, NUMBERS),
    st.builds(plans.Interpolate, REGIONS, NAMES, REGIONS, NUMBERS, st.sampled_from(("both", "look", "pose"))),
)
PLANS = st.fixed_dictionaries(
    {
        "edits": st.lists(EDITS, max_size=4).map(tuple),
        "prompt": NAMES,
        "seed": st.integers(0, 2**63 - 1),
        "num_inference_steps": st.integers(1, 50),
        "guidance_scale": st.floats(0, 9),
        "refinement_steps": st.integers(0, 50),
        "composite": st.booleans(),
    }
)


@given(PLANS)
def test_json_round_trip(values):
    plan = EditPlan(**values)
    assert from_json(to_json(plan)) == plan


def test_the_registry_is_closed_and_complete():
    expected = {"move", "resize", "flip", "rotate", "turn", "remove", "keep", "swap", "copy", "insert", "interpolate"}
    assert set(plans.OPERATIONS) == expected


def test_a_plan_written_by_hand():
    plan = from_json(
        '{"edits": [{"operation": "move", "region": 2, "dx": 1, "dy": -0.2}, {"operation": "remove", "region": 3}], "seed": 7}'
    )
    assert plan == EditPlan((plans.Move(2, 1.0, -0.2), plans.Remove(3)), seed=7)


def test_apply_is_the_functions_in_order(make_latents):
    latents, other = make_latents(0), make_latents(1)
    plan = EditPlan(
        (plans.Move(1, 0.1, -0.05), plans.Remove(2), plans.Insert("b.png", 3, 0.5, 0.25), plans.Interpolate(1, "b.png", 1, 0.3, "look"))
    )
    expected = op.insert(op.remove(op.move(latents, 1, 0.1, -0.05), 2), other, 3, (0.5, 0.25))
    expected = op.interpolate(expected, 1, other, 1, 0.3, "look")
    result = apply(plan, latents, {"b.png": other})
    assert torch.equal(result.tokens, expected.tokens)
    assert torch.equal(result.pose.centre, expected.pose.centre)
    assert torch.equal(result.valid, expected.valid)
    assert plan.sources() == ("b.png",)


def test_every_operation_can_be_applied(make_latents):
    edits = (
        plans.Move(1, 0.0, 0.1), plans.Resize(1, 0.5), plans.Flip(1), plans.Rotate(2, 45.0), plans.Turn(2, 45.0), plans.Swap(1, 2),
        plans.Copy(1, 0.0, 0.0), plans.Insert("other", 1, 0.5, 0.5), plans.Interpolate(3, "other", 1, 0.5), plans.Remove(1),
        plans.Keep(3),
    )  # fmt: skip
    assert {edit.operation for edit in edits} == set(plans.OPERATIONS)
    assert op.regions_present(apply(EditPlan(edits), make_latents(0), {"other": make_latents(1)})) == [3]


def test_a_failing_edit_is_named_by_its_place(make_latents):
    plan = EditPlan((plans.Remove(2), plans.Flip(2)))
    with pytest.raises(ValueError, match=r"edit 2 \(flip\): region 2 is not in the picture; choose one of 1, 3"):
        apply(plan, make_latents(0))
    with pytest.raises(ValueError, match="no picture 'b.png'"):
        apply(EditPlan((plans.Insert("b.png", 1, 0.5, 0.5),)), make_latents(0))


MOVE = {"operation": "move", "region": 1, "dx": 0.1, "dy": 0.1}
MIXED = {"operation": "interpolate", "region": 1, "source": "b.png", "source_region": 1, "weight": 0.5}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"edits": [], "sed": 1}, "the plan has the unknown key 'sed'; did you mean 'seed'"),
        ({"edits": [{**MOVE, "dz": 1}]}, r"edit 1 \(move\) has the unknown key 'dz'"),
        ({"edits": [MOVE, {"operation": "mvoe"}]}, "edit 2 has the unknown operation 'mvoe'; did you mean 'move'"),
        ({"edits": [{"operation": "move", "region": 1, "dx": 0.1}]}, r"edit 1 \(move\) lacks 'dy'; it needs region, dx, dy"),
        ({"edits": [{**MOVE, "dx": "0.1"}]}, r"'dx' of edit 1 \(move\) must be a finite number, not '0.1'"),
        ({"edits": [{**MOVE, "dx": None}]}, "'dx' of edit 1 .* not None"),
        ({"edits": [{**MOVE, "region": 1.5}]}, "'region' of edit 1 .* must be an int, not 1.5"),
        ({"edits": [{**MOVE, "region": True}]}, "'region' of edit 1 .* must be an int, not True"),
        ({"edits": [{**MIXED, "what": "lok"}]}, r"'what' of edit 1 \(interpolate\) must be one of both, look, pose, not 'lok'"),
        ({"edits": [{**MIXED, "what": ["look"]}]}, "'what' of edit 1 .* must be one of both, look, pose"),
        ({"edits": ["move"]}, "edit 1 must be a JSON object"),
        ({"edits": [{"operation": ["move"]}]}, "unknown operation"),
        ({"edits": {}}, "must be a JSON object with a list 'edits'"),
        ([], "must be a JSON object with a list 'edits'"),
        ({"edits": [], "seed": -1}, "seed -1"),
        ({"edits": [], "num_inference_steps": 0}, "num_inference_steps 0"),
        ({"edits": [], "num_inference_steps": 10**9}, "num_inference_steps 1000000000"),
        ({"edits": [], "guidance_scale": -1}, "guidance_scale -1"),
        ({"edits": [], "refinement_steps": -1}, "refinement_steps -1"),
        ({"edits": [], "composite": 1}, "'composite' of the plan must be a bool"),
        ({"edits": [], "prompt": None}, "'prompt' of the plan must be a str"),
    ],
)
def test_refusals_name_the_place_and_the_nearest(values, message):
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(values))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"edits": [' + "NaN" + "]}", '{"edits": [], "guidance_scale": Infinity}'])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(ValueError, match="plan|edit"):
        from_json(text)
