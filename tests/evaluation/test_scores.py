"""Scores: full marks for the rendered truth, none for an unedited picture, known errors for known faults."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gen.evaluation.cases import OPERATIONS, Cases, build_cases, object_area
from gen.evaluation.methods import Edited
from gen.evaluation.oracle import Oracle
from gen.evaluation.scores import FIGURE, FIGURES, attribute, edited_masks, monotone, score
from gen.scenes import SHAPES

SIDE, COUNT = 64, 6


@pytest.fixture(scope="module")
def cases() -> dict[str, Cases]:
    return {operation: build_cases(operation, COUNT, SIDE, num_regions=6) for operation in OPERATIONS}


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    torch.manual_seed(0)
    return Oracle(width=8, num_features=16).eval()


def both(pictures: torch.Tensor) -> Edited:
    return Edited(pictures, pictures)


def test_figures_have_names_of_their_own_and_a_range():
    assert len(FIGURE) == len(FIGURES)
    assert all(figure.bounds[0] < figure.bounds[1] and set(figure.operations) <= set(OPERATIONS) for figure in FIGURES)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_score_has_the_figures_that_are_declared_for_its_operation_within_their_range(cases, oracle, operation):
    found = score(both(cases[operation].source), cases[operation], oracle)
    assert set(found) | {"monotone"} == {figure.name for figure in FIGURES if operation in figure.operations} | {"monotone"}
    for name, values in found.items():
        assert values.shape == (COUNT,)
        least, most = FIGURE[name].bounds
        assert not (values < least).any() and not (values > most).any(), name
        assert name == "rotation_error" or not values.isnan().any(), name


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_truth_scores_full_marks(cases, operation):
    found = score(both(cases[operation].truth), cases[operation])
    assert (found["psnr"] == 100).all() and (found["ssim"] > 0.9999).all()
    full = {"object_psnr": 100, "changed_psnr": 100, "untouched_raw_psnr": 100, "drift_raw_psnr": 100, "identical": 1}
    assert all((found[name] == value).all() for name, value in full.items() if name in found)
    assert all((found[name] == 0).all() for name in ("residual_share", "residual_object") if name in found)
    if "centroid_error" in found:
        assert found["centroid_error"].median() < 0.01 and found["centroid_error"].max() < 0.05


@pytest.mark.parametrize("operation", ["move", "remove", "insert", "swap", "rotate"])
def test_an_unedited_picture_gains_nothing_but_leaves_the_rest_alone(cases, operation):
    found = score(both(cases[operation].source), cases[operation])
    assert (found["gain"] == 0).all() and (found["object_psnr"] < 30).all()
    assert (found["untouched_raw_psnr"] > 48).all()  # less than one grey level off
    if operation == "move":
        assert (found["centroid_error"] > 0.1).all()
    if operation == "remove":
        assert (found["residual_share"] == 1).all() and (found["residual_object"] == 1).all()


def test_changed_pixels_hold_the_shadow_that_the_box_does_not(cases):
    """Pictures that are right in the boxes and unedited elsewhere: only the shadow is missing."""
    move = cases["move"]
    pasted = torch.where(object_area(move)[:, None], move.truth, move.source)
    found = score(both(pasted), move)
    assert (found["object_psnr"] == 100).all() and (found["changed_psnr"] < 60).all() and found["changed_psnr"].median() < 40


def test_a_move_that_is_one_pixel_off_is_one_pixel_off(cases):
    move = cases["move"]
    mask = edited_masks(move.truth_regions, move)
    found = score(both(torch.where(mask.roll(1, -1), move.truth.roll(1, -1), move.empty)), move)
    assert float(found["centroid_error"].median()) == pytest.approx(1 / SIDE, rel=0.1)


def test_an_object_that_is_nowhere_is_a_whole_width_away(cases):
    assert (score(both(cases["move"].empty), cases["move"])["centroid_error"] == 1).sum() >= COUNT - 1


def test_half_an_object_left_is_a_residual_of_a_half(cases):
    remove = cases["remove"]
    gone = edited_masks(remove.regions, remove)[:, 0]
    chosen = torch.zeros_like(gone)
    for mask, part in zip(gone, chosen, strict=True):
        places = mask.nonzero()
        part[tuple(places[: math.ceil(len(places) / 2)].T)] = True
    found = score(both(torch.where(chosen[:, None], remove.source, remove.truth)), remove)
    assert torch.allclose(found["residual_share"], torch.tensor(0.5), atol=0.05) and (found["residual_object"] == 1).all()


def test_raw_and_composited_pictures_are_not_mistaken_for_each_other(cases):
    no_op = cases["no_op"]
    found = score(Edited(raw=no_op.source + 0.02, composited=no_op.source), no_op)
    assert (found["psnr"] == 100).all() and (found["identical"] == 1).all()
    assert torch.allclose(found["drift_raw_psnr"], torch.tensor(40.0), atol=0.01)
    found = score(Edited(raw=no_op.source, composited=no_op.source + 1e-6), no_op)
    assert (found["drift_raw_psnr"] == 100).all() and (found["identical"] == 0).any()


def test_pictures_that_are_not_finite_are_refused(cases):
    move = cases["move"]
    broken = move.truth.clone()
    broken[:2, 0, 3, 4] = math.nan
    broken[2, 1, 0, 0] = math.inf
    with pytest.raises(ValueError, match=f"move: 3 of {COUNT} raw pictures"):
        score(Edited(broken, move.truth), move)
    with pytest.raises(ValueError, match=f"move: 3 of {COUNT} composited pictures"):
        score(Edited(move.truth, broken), move)


def test_identity_is_the_mean_of_three_and_a_wrong_truth_lowers_it(cases, oracle):
    """An untrained oracle names one thing for all: right as often as that is the truth."""
    move = cases["move"]
    found = score(both(move.truth), move, oracle)
    mean = (found["shape_right"] + found["colour_right"] + found["material_right"]) / 3
    assert torch.allclose(found["identity"], mean)
    told = oracle.read(move.truth, move.new_boxes[:, 0]).shape.argmax(-1)
    specs = [
        replace(spec, objects=tuple(replace(item, shape=SHAPES[int(answer)]) for item in spec.objects))
        for spec, answer in zip(move.after, told, strict=True)
    ]
    assert (score(both(move.truth), replace(move, after=specs), oracle)["shape_right"] == 1).all()


def test_two_edited_objects_count_half_each(cases, oracle):
    found = score(both(cases["swap"].truth), cases["swap"], oracle)
    assert set((2 * found["shape_right"]).tolist()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    "path, expected",
    [
        ([0.0, 0.2, 0.5, 0.8, 1.0], 1),
        ([0.0, 0.5, 0.49, 0.8, 1.0], 1),  # within the tolerance
        ([0.0, 0.0, 0.0, 1.0, 1.0], 1),  # a jump
        ([0.0, 0.5, 0.4, 0.8, 1.0], 0),
        ([0.0, 0.0, 0.0, 0.0, 0.0], 0),  # never falls, never arrives
        ([1.0, 0.8, 0.5, 0.2, 0.0], 0),
        ([0.0, 0.2, math.nan, 0.8, 1.0], 0),
    ],
)
def test_monotone(path, expected):
    assert monotone(torch.tensor(path)[:, None]).tolist() == [expected]


def test_the_attribute_of_true_frames_is_the_weight_and_that_of_unedited_ones_stays(oracle):
    path = [build_cases("interpolate_frame", 4, SIDE, num_regions=6, weight=weight) for weight in (0.0, 0.5, 1.0)]
    true = torch.stack([attribute(both(case.truth), case, path[0], path[-1], oracle) for case in path])
    assert (true - torch.tensor([0.0, 0.5, 1.0])[:, None]).abs().max() < 0.15
    assert (monotone(true) == 1).all()
    still = torch.stack([attribute(both(case.source), case, path[0], path[-1], oracle) for case in path])
    assert (monotone(still) == 0).all()


def test_the_attribute_of_looks_is_the_second_colour_less_the_first(oracle):
    path = [build_cases("interpolate_look", 4, SIDE, num_regions=6, weight=weight) for weight in (0.0, 1.0)]
    there = attribute(both(path[1].truth), path[1], path[0], path[1], oracle)
    back = attribute(both(path[1].truth), path[1], path[1], path[0], oracle)
    assert torch.allclose(there + back, torch.ones(4)) and ((there >= 0) & (there <= 1)).all()
