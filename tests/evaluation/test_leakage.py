"""Leakage: none for tokens of own pixels, much for tokens of the whole picture; a traded token is painted where it went."""

from __future__ import annotations

import pytest
import torch

from gen.evaluation.leakage import (
    TokenPairs,
    context_leakage,
    intervention_row,
    mean_distance,
    neighbour_pairs,
    own_pairs,
    resampled_pairs,
    swap_test,
)
from gen.evaluation.probes import fit_probes
from gen.evaluation.tokens import collect
from tests.evaluation.toy_pipelines import ColourReader, OwnColour, Painter, Stubborn, WholePictureColour, toy_pipeline


def pairs(*moved: float, same: bool = True) -> TokenPairs:
    """Tokens of two numbers, each moved along the first by so much."""
    shift = torch.tensor([[value, 0.0] for value in moved])
    return TokenPairs(torch.zeros_like(shift), shift, torch.full((len(moved),), same))


def test_distance_between_objects_of_a_known_triangle():
    assert mean_distance(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])) == pytest.approx(4.0)


def test_tokens_without_distance_give_no_scale():
    with pytest.raises(ValueError, match="collapsed"):
        mean_distance(torch.ones(4, 3))
    with pytest.raises(ValueError, match="take more scenes"):
        mean_distance(torch.ones(1, 3))


def test_leakage_of_known_displacements():
    found = context_leakage({"move": pairs(1, 3), "remove": pairs(6, 10, same=False)}, pairs(0.5), between=10.0)
    assert found == pytest.approx(
        {
            "context_leakage": 0.5,
            "context_leakage_move": 0.2,
            "context_leakage_remove": 0.8,
            "context_leakage_same_pixels": 0.2,
            "context_leakage_noise_floor": 0.05,
        }
    )


def test_leakage_of_no_object_is_refused_by_its_kind():
    with pytest.raises(ValueError, match="same_pixels"):
        context_leakage({"move": pairs(1, same=False)}, pairs(0.5), between=1.0)


@pytest.mark.parametrize("operation", ["recolour", "move", "remove"])
def test_a_token_of_own_pixels_does_not_leak(operation):
    found = neighbour_pairs(toy_pipeline(OwnColour()), operation, num_scenes=12)
    assert len(found.before) > 12 and found.same_pixels.any()
    assert found.displacement()[found.same_pixels].max() == 0
    assert (found.displacement()[~found.same_pixels] > 0).all()


def test_a_token_of_the_whole_picture_leaks_also_where_its_own_pixels_stay():
    found = neighbour_pairs(toy_pipeline(WholePictureColour()), "recolour", num_scenes=12)
    assert (found.displacement()[found.same_pixels] > 0).all()


def test_an_objects_own_recolouring_moves_its_token_and_its_removal_leaves_none():
    pipeline = toy_pipeline(OwnColour())
    own, other = own_pairs(pipeline, "recolour", num_scenes=12), neighbour_pairs(pipeline, "recolour", num_scenes=12)
    assert len(own.before) == 12 and own.displacement().min() > 20 * other.displacement().mean()
    assert not own.same_pixels.any()
    assert len(own_pairs(pipeline, "remove", num_scenes=4).before) == 0


def test_finer_sampling_moves_tokens_little():
    found = resampled_pairs(toy_pipeline(OwnColour()), num_scenes=12)
    assert 0 < found.displacement().mean() < 0.05


def test_the_matrix_says_what_the_token_told_of_the_change():
    """Tokens are colours: recolouring an object changes the named colour, recolouring its neighbour nothing."""
    pipeline = toy_pipeline(OwnColour())
    tokens = collect(pipeline, 120)
    probes, between = fit_probes(tokens), mean_distance(tokens.features)
    own, other = (intervention_row(make(pipeline, "recolour", 12), probes, between) for make in (own_pairs, neighbour_pairs))
    assert own["colour"] > 0.9 and own["token"] > 0.3
    assert other["colour"] == 0 and other["token"] < 0.02 and other["x"] < 0.02
    with pytest.raises(ValueError, match="no object is left"):
        intervention_row(own_pairs(pipeline, "remove", 2), probes, between)


def test_a_painter_that_obeys_shows_the_traded_colour():
    found = swap_test(toy_pipeline(OwnColour(), Painter), ColourReader(), num_scenes=18)
    assert found["swap_colour_oracle"] > 0.75  # of a reader that takes no shading into account
    assert found["swap_colour_follows"] > 0.75 and found["swap_colour_stays"] < 0.15


def test_a_painter_that_does_not_listen_keeps_the_colours():
    found = swap_test(toy_pipeline(OwnColour(), Stubborn, context="whole"), ColourReader(), num_scenes=18)
    assert found["swap_colour_stays"] == found["swap_colour_oracle"] > 0.75
    assert found["swap_colour_follows"] < 0.15
