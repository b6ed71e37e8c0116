"""Rotations: codes round trip, angles are angles, and equivalents are the best of all that look the same."""

from __future__ import annotations

import math

import pytest
import torch

from gen.models import rotation


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return rotation.matrix_from_six(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)))


def test_any_six_numbers_are_a_rotation_and_a_rotation_survives_the_round_trip():
    found = random_rotations(50)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(50))
    torch.testing.assert_close(rotation.matrix_from_six(rotation.six_from_matrix(found)), found)


def test_the_code_is_the_first_two_columns():
    assert rotation.six_from_matrix(rotation.turn(torch.tensor(math.pi / 2))).tolist() == pytest.approx([0, 1, 0, -1, 0, 0], abs=1e-6)


@pytest.mark.parametrize("degrees", [0.0, 0.01, 30.0, 90.0, 179.99, 180.0])
def test_the_angle_of_a_turn_is_its_angle(degrees):
    base = random_rotations(20)
    turned = base @ rotation.turn(torch.full((20,), math.radians(degrees)))
    torch.testing.assert_close(rotation.geodesic_degrees(base, turned), torch.full((20,), degrees), atol=2e-3, rtol=0)


@pytest.mark.parametrize("period", [360, 180, 90])
def test_the_nearest_equivalent_is_the_best_of_all_candidates(period):
    true, predicted = random_rotations(40, 1), random_rotations(40, 2)
    turns = torch.arange(360 // period) * math.radians(period)
    candidates = true[:, None] @ rotation.turn(turns)
    best = rotation.geodesic_degrees(candidates, predicted[:, None].expand_as(candidates)).amin(1)
    found = rotation.nearest_equivalent(true, predicted, torch.full((40,), period))
    torch.testing.assert_close(rotation.geodesic_degrees(found, predicted), best, atol=1e-2, rtol=0)


def test_period_0_forgives_every_turn_and_unknown_forgives_none():
    true = random_rotations(20)
    turned = true @ rotation.turn(torch.linspace(-3, 3, 20))
    free = rotation.nearest_equivalent(true, turned, torch.zeros(20, dtype=torch.long))
    torch.testing.assert_close(free, turned, atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.nearest_equivalent(true, turned, torch.full((20,), -1)), true, atol=1e-6, rtol=0)


def seen_from(elevation: float, azimuth: float) -> torch.Tensor:
    """Return an object seen from a direction of its own frame, upright in the picture."""
    towards = torch.tensor([math.cos(azimuth) * math.cos(elevation), math.sin(azimuth) * math.cos(elevation), math.sin(elevation)])
    away = -towards
    right = torch.linalg.cross(away, torch.tensor([0.0, 0.0, 1.0]))
    right = right / right.norm()
    return torch.stack([right, torch.linalg.cross(away, right), away])


@pytest.mark.parametrize("azimuth", [-3.0, -1.0, 0.0, 0.5, 2.0])
def test_view_yaw_is_where_the_viewer_stands(azimuth):
    view = seen_from(0.7, azimuth)
    assert float(torch.linalg.det(view)) == pytest.approx(1, abs=1e-6)
    assert float(rotation.view_yaw(view)) == pytest.approx(azimuth, abs=1e-5)


def test_an_object_that_turns_left_shows_the_viewer_a_smaller_azimuth():
    view = seen_from(0.7, 1.0)
    assert float(rotation.view_yaw(view @ rotation.turn(torch.tensor(0.25)))) == pytest.approx(0.75, abs=1e-5)


def test_phases_and_differences_wrap_at_the_period():
    period = torch.tensor([360, 180, 180])
    yaw = torch.tensor([-90.0, -45.0, 225.0]).deg2rad()
    torch.testing.assert_close(rotation.yaw_phase(yaw, period), torch.tensor([0.75, 0.75, 0.25]))
    other = torch.tensor([85.0, 130.0, 50.0]).deg2rad()
    torch.testing.assert_close(rotation.yaw_difference_degrees(yaw, other, period), torch.tensor([175.0, 5.0, 5.0]), atol=1e-3, rtol=0)
