"""Methods edit as asked, the same way for the same seed, and give untouched pixels back bit for bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.editing.preserve import changed_area
from gen.evaluation.cases import DONOR, OPERATIONS, Cases, build_cases
from gen.evaluation.methods import ChainedEdits, PipelineMethod, applied, asked_area, carried_regions, carry
from gen.models.pipeline import RegionPipeline
from gen.models.tiny import tiny_pipeline
from gen.regions import RegionLatents, RegionPose, Regions

COUNT, SIDE = 4, 32


@pytest.fixture(scope="module")
def pipeline() -> RegionPipeline:
    return tiny_pipeline(SIDE, num_regions=6)


@pytest.fixture(scope="module")
def cases() -> dict[str, Cases]:
    return {operation: build_cases(operation, COUNT, SIDE, 6) for operation in OPERATIONS}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_changes_the_asked_area_and_nothing_else(pipeline, cases, operation):
    chosen = cases[operation]
    edited = PipelineMethod("ours", pipeline, 2)(chosen, 0)
    if operation == "reconstruct":
        assert torch.equal(edited.raw, edited.composited)
        return
    area = asked_area(chosen)[:, None].expand_as(edited.raw)
    assert torch.equal(edited.composited[~area], chosen.source[~area])
    assert area.any() == (operation != "no_op")
    assert not area.any() or not torch.equal(edited.composited[area], chosen.source[area])


def test_a_no_op_is_the_source_bit_for_bit_and_its_raw_picture_is_the_decoders(pipeline, cases):
    edited = PipelineMethod("ours", pipeline, 2)(cases["no_op"], 0)
    assert torch.equal(edited.composited, cases["no_op"].source)
    assert not torch.equal(edited.raw, edited.composited)


def test_a_reconstruction_is_painted_from_the_latents_alone(pipeline, cases):
    chosen = cases["reconstruct"]
    edited = PipelineMethod("ours", pipeline, 2)(chosen, 3)
    generator = torch.Generator().manual_seed(3)
    alone = pipeline.decode(pipeline.encode(chosen.source, chosen.regions), num_inference_steps=2, generator=generator)
    assert torch.equal(edited.raw, alone)


def test_the_seed_and_not_the_batch_size_makes_the_picture(pipeline, cases):
    first, same, other = (PipelineMethod("ours", pipeline, 2)(cases["move"], seed) for seed in (0, 0, 1))
    assert torch.equal(first.raw, same.raw) and not torch.equal(first.raw, other.raw)
    torch.testing.assert_close(PipelineMethod("ours", pipeline, 2, batch_size=3)(cases["move"], 0).raw, first.raw, atol=1e-4, rtol=0)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_asked_area_is_what_a_pipelines_latents_change(pipeline, cases, operation):
    chosen = cases[operation]
    before = pipeline.encode(chosen.source, chosen.regions)
    sources = {} if chosen.donor is None else {DONOR: pipeline.encode(chosen.donor, chosen.donor_regions)}
    assert torch.equal(asked_area(chosen), changed_area(chosen.regions, before, applied(chosen.plans, before, sources)))


def test_a_yaw_that_one_plan_tells_is_unknown_in_the_others(pipeline, cases):
    rotate, move = cases["rotate"], cases["move"]
    before = pipeline.encode(move.source, move.regions)
    assert applied(move.plans, before, {}).pose.yaw is None
    yaw = applied([rotate.plans[0], *move.plans[1:]], pipeline.encode(rotate.source, rotate.regions), {}).pose.yaw
    number = rotate.edited[0][0]
    assert torch.isfinite(yaw[0, number]).all() and torch.isnan(yaw).all(-1).sum() == yaw[..., 0].numel() - 1


def test_carrying_a_picture_to_the_same_box_a_shifted_one_and_a_mirrored_one():
    picture, box = torch.rand(3, 16, 16), torch.tensor([0.25, 0.25, 0.75, 0.5])
    torch.testing.assert_close(carry(picture, box, box), picture)
    shifted = carry(picture, box, box + torch.tensor([2, 4, 2, 4]) / 16)
    torch.testing.assert_close(shifted[:, 4:, 2:], picture[:, :-4, :-2])
    assert not shifted[:, :3].any(), "nothing is known beyond the border"
    torch.testing.assert_close(carry(picture, box, box, mirror=True)[:, :, 4:12], picture[:, :, 4:12].flip(-1))


def posed(regions: Regions) -> RegionLatents:
    return RegionLatents(torch.zeros(*regions.valid.shape, 1, 1), RegionPose.from_regions(regions), regions.valid)


def test_regions_after_an_edit_as_its_user_knows_them():
    """Object 1 goes 4 pixels to the right and covers two columns of object 2; object 3 is removed."""
    labels = torch.zeros(1, 16, 16, dtype=torch.long)
    labels[0, 4:8, 2:6], labels[0, 4:8, 8:12], labels[0, 12:, 12:] = 1, 2, 3
    regions = Regions.from_label_map(labels, 4)
    before = posed(regions)
    pose = replace(before.pose, centre=before.pose.centre + torch.tensor([[0, 0], [4, 0], [0, 0], [0, 0]]) / 16)
    after = replace(before, pose=pose, valid=torch.tensor([[True, True, True, False]]))
    expected = torch.zeros_like(labels)
    expected[0, 4:8, 6:10], expected[0, 4:8, 10:12] = 1, 2
    carried = carried_regions(regions, before, after)
    assert torch.equal(carried.label_map(), expected) and (carried.masks.sum(1) == 1).all()
    assert carried.valid.tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("operation", ["swap", "move_two"])
def test_a_chain_edits_both_objects_and_nothing_else(pipeline, cases, operation):
    """What the chain leaves alone is the source's; both objects' old places are painted, and its last raw picture is not put together."""
    chosen = cases[operation]
    chained = ChainedEdits("chained", pipeline, 2)
    edited, again = chained(chosen, 0), chained(chosen, 0)
    assert torch.equal(edited.composited, again.composited)
    untouched = (edited.composited == chosen.source).all(1)
    for row, numbers in enumerate(chosen.edited):
        for number in numbers:
            assert untouched[row][chosen.regions.masks[row, number]].float().mean() < 0.05
    area = asked_area(chosen)
    assert untouched[~area].float().mean() > 0.9 and not torch.equal(edited.raw, edited.composited)


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in ("swap", "move_two")])
def test_a_single_edit_is_no_chain(pipeline, cases, operation):
    assert ChainedEdits("chained", pipeline)(cases[operation], 0) is None
