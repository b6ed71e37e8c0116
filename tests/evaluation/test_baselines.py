"""Baselines: pixels that are copied land where they are asked, elements follow their object, and one latent knows no edit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.evaluation.baselines import CopyPaste, GlobalLatent, SuperpixelElements
from gen.evaluation.cases import OPERATIONS, Cases, build_cases
from gen.evaluation.methods import asked_area
from gen.evaluation.region_metrics import centroid_error
from gen.models.pipeline import RegionPipeline
from gen.models.tiny import tiny_pipeline, tiny_region_diffusion

COUNT, SIDE = 4, 32
FLOOR, OBJECT = -0.2, 0.9


@pytest.fixture(scope="module")
def cases() -> dict[str, Cases]:
    return {operation: build_cases(operation, COUNT, SIDE, 6) for operation in OPERATIONS}


@pytest.fixture(scope="module")
def pipeline() -> RegionPipeline:
    return tiny_pipeline(SIDE, num_regions=13)


def on_a_flat_floor(cases: Cases) -> Cases:
    """Paint the edited objects in one colour, and everything else in another."""

    def flat(picture, regions):
        masks = torch.stack([regions.masks[row, list(numbers)].any(0) for row, numbers in enumerate(cases.edited)])
        return torch.where(masks[:, None], OBJECT, FLOOR).expand_as(picture).contiguous()

    donor = None if cases.donor is None else flat(cases.donor, cases.donor_regions)
    return replace(cases, source=flat(cases.source, cases.regions), truth=flat(cases.truth, cases.truth_regions), donor=donor)


def object_share(picture: torch.Tensor) -> torch.Tensor:
    return ((picture - FLOOR) / (OBJECT - FLOOR)).mean(-3)


@pytest.mark.parametrize("operation", ["move", "resize", "insert"])
def test_copied_pixels_land_where_they_are_asked(operation):
    """Seen at 64 pixels: the pasted object's centroid is within a pixel of the true object's."""
    flat = on_a_flat_floor(build_cases(operation, 8, 64, 6))
    found = object_share(CopyPaste()(flat, 0).raw) > 0.5
    amodal = object_share(flat.truth) > 0.5
    whole = torch.tensor([float(a.sum()) > 0.9 * float(b.sum()) for a, b in zip(amodal, found, strict=True)])  # nothing nearer hides it
    assert whole.sum() >= 5
    assert float(centroid_error(found, amodal)[whole].max()) < 1 / 64


def test_a_removed_object_leaves_a_smooth_floor(cases):
    flat = on_a_flat_floor(cases["remove"])
    others = torch.stack([flat.regions.masks[row, 1:].any(0) for row in range(COUNT)])
    removed = CopyPaste()(flat, 0).raw
    torch.testing.assert_close(removed, torch.full_like(removed, FLOOR), atol=1e-3, rtol=0)
    assert others.any(), "the neighbours, of the floor's colour here, are part of the scene"


def test_a_moved_object_leaves_no_trace_and_keeps_its_brightness(cases):
    flat = on_a_flat_floor(cases["move"])
    share = object_share(CopyPaste()(flat, 0).raw)
    for row in range(COUNT):
        left, top, right, bottom = (flat.new_boxes[row, 0] * SIDE).round().int().tolist()
        outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
        outside[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = False
        assert float(share[row][outside].abs().max()) < 1e-3 and float(share[row].max()) > 0.99


def test_flipped_pixels_are_mirrored_in_their_box(cases):
    flat = on_a_flat_floor(cases["flip"])
    same_box = replace(flat, new_boxes=flat.old_boxes)
    share = object_share(CopyPaste()(same_box, 0).raw)
    for row, (number,) in enumerate(flat.edited):
        left, top, right, bottom = (flat.old_boxes[row, 0] * SIDE).round().int().tolist()
        own = flat.regions.masks[row, number, top:bottom, left:right].float()
        torch.testing.assert_close(share[row, top:bottom, left:right], own.flip(-1), atol=1e-3, rtol=0)


def test_both_objects_of_a_swap_are_pasted_and_no_one_else_is_touched(cases):
    chosen = cases["swap"]
    picture = CopyPaste()(chosen, 0).composited
    area = asked_area(chosen)[:, None].expand_as(picture)
    assert torch.equal(picture[~area], chosen.source[~area])
    flat = on_a_flat_floor(chosen)
    wrong = (object_share(CopyPaste()(flat, 0).raw) - object_share(flat.truth)).abs() > 0.5
    assert wrong.sum() < 0.2 * (object_share(flat.truth) > 0.5).sum()


def test_a_look_is_faded_between_source_and_donor():
    for weight in (0.0, 0.5, 1.0):
        chosen = build_cases("interpolate_look", COUNT, SIDE, 6, weight=weight)
        edited = CopyPaste()(chosen, 0)
        torch.testing.assert_close(edited.raw, (1 - weight) * chosen.source + weight * chosen.donor)


def test_copy_and_paste_does_nothing_where_nothing_is_asked(cases):
    assert torch.equal(CopyPaste()(cases["no_op"], 0).raw, cases["no_op"].source)
    assert CopyPaste()(cases["reconstruct"], 0) is None


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if not name.startswith("interpolate")])
def test_superpixels_edit_near_the_object_only_and_repeatably(pipeline, cases, operation):
    chosen, method = cases[operation], SuperpixelElements("elements", pipeline, 2)
    edited = method(chosen, 0)
    assert torch.equal(edited.raw, method(chosen, 0).raw)
    if operation == "reconstruct":
        assert torch.equal(edited.raw, edited.composited)
    elif operation == "no_op":
        assert torch.equal(edited.composited, chosen.source)
    else:
        kept = (edited.composited == chosen.source).all(1)
        assert 0.2 < float(kept.float().mean()) < 0.999


def test_superpixels_may_paint_the_shadow_on_the_floor(pipeline, cases):
    """Every element of the floor that is not edited would keep its pixels otherwise."""
    chosen = cases["move"]
    edited = SuperpixelElements("elements", pipeline, 2)(chosen, 0)
    area = asked_area(chosen)
    inner = ~torch.nn.functional.max_pool2d((~area).float(), 3, stride=1, padding=1).bool()
    assert (edited.composited != chosen.source).any(1)[inner].float().mean() > 0.99


def test_superpixels_of_two_pictures_do_not_correspond(pipeline, cases):
    assert SuperpixelElements("elements", pipeline)(cases["interpolate_look"], 0) is None


def test_elements_of_an_object_go_where_it_goes(cases, pipeline):
    """With the true regions as elements, every object is one element: its box ends at the true one, and others stay."""
    for operation in ("move", "resize", "flip", "swap", "move_two"):
        chosen = cases[operation]
        before = pipeline.encode(chosen.source, chosen.regions)
        _, after = SuperpixelElements("elements", pipeline)._changed(chosen, slice(0, COUNT), before, chosen.regions)
        for row, numbers in enumerate(chosen.edited):
            own = chosen.regions.boxes()[row, list(numbers)]
            whole = (own == chosen.old_boxes[row]).all(-1)  # nothing nearer hides a part
            found = after.pose.boxes()[row, list(numbers)]
            torch.testing.assert_close(found[whole], chosen.new_boxes[row][whole], atol=1e-5, rtol=0)
            others = [k for k in range(6) if k not in numbers]
            assert torch.equal(after.pose.boxes()[row, others], before.pose.boxes()[row, others])
            assert (after.pose.flip[row] == 1).nonzero().flatten().tolist() == ([*numbers] if operation == "flip" else [])


def test_elements_of_a_removed_object_are_dropped(cases, pipeline):
    chosen = cases["remove"]
    before = pipeline.encode(chosen.source, chosen.regions)
    _, after = SuperpixelElements("elements", pipeline)._changed(chosen, slice(0, COUNT), before, chosen.regions)
    for row, numbers in enumerate(chosen.edited):
        assert (before.valid[row] & ~after.valid[row]).nonzero().flatten().tolist() == [*numbers]


def test_one_latent_paints_the_same_whatever_is_asked(cases):
    """Without source context the raw pictures of two operations on the same scenes are equal."""
    torch.manual_seed(0)
    pipeline = tiny_region_diffusion(SIDE, 6, context_erasing=None).eval().pipeline()
    method = GlobalLatent("one latent", pipeline, 2)
    assert torch.equal(cases["remove"].source, cases["reconstruct"].source)
    reconstructed, removed = method(cases["reconstruct"], 0), method(cases["remove"], 0)
    assert torch.equal(reconstructed.raw, removed.raw) and torch.equal(reconstructed.raw, reconstructed.composited)


@pytest.mark.parametrize("operation", ["no_op", "move", "insert", "interpolate_look"])
def test_one_latent_may_paint_in_the_asked_area_only(cases, operation):
    chosen = cases[operation]
    edited = GlobalLatent("one latent", tiny_pipeline(SIDE, num_regions=6), 2)(chosen, 0)
    area = asked_area(chosen)[:, None].expand_as(edited.raw)
    assert torch.equal(edited.composited[~area], chosen.source[~area])
