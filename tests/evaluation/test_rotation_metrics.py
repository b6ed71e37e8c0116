"""Errors of rotations: nothing for what looks the same, a quarter of the period by chance."""

from __future__ import annotations

import math

import pytest
import torch

from gen.data.augment import ViewTransform
from gen.data.scenes import Scenes
from gen.evaluation import rotation_metrics
from gen.models import rotation
from gen.models.rotation import matrix_from_six, turn, view_yaw

HALF_TURN = turn(torch.tensor(math.pi))


def random_rotations(count: int, seed: int = 0) -> torch.Tensor:
    return matrix_from_six(torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)))


def test_half_a_turn_is_an_error_only_where_it_can_be_seen():
    true, periods = random_rotations(30), torch.tensor([360, 180, 90] * 10)
    turned = true @ HALF_TURN
    expected = torch.tensor([180.0, 0.0, 0.0] * 10)
    torch.testing.assert_close(rotation_metrics.yaw_errors(view_yaw(turned), true, periods), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(rotation_metrics.rotation_errors(turned, true, periods), expected, atol=1e-1, rtol=0)


@pytest.mark.parametrize("degrees", [5.0, 40.0])
def test_a_turn_is_measured_in_degrees(degrees):
    true, periods = random_rotations(30), torch.tensor([360, 180, 90] * 10)
    said = true @ turn(torch.tensor(math.radians(degrees)))
    expected = torch.full((30,), degrees)
    torch.testing.assert_close(rotation_metrics.yaw_errors(view_yaw(said), true, periods), expected, atol=1e-2, rtol=0)
    torch.testing.assert_close(rotation_metrics.rotation_errors(said, true, periods), expected, atol=1e-2, rtol=0)


def test_the_relative_rotation_of_two_views_has_no_error_whichever_way_symmetry_is_read():
    source, target, periods = random_rotations(20, 1), random_rotations(20, 2), torch.full((20,), 180)
    for goal in (target, target @ HALF_TURN):
        said = goal @ source.mT
        assert float(rotation_metrics.relative_errors(said, source, target, periods).max()) < 0.1
    assert float(rotation_metrics.relative_errors(torch.eye(3).expand(20, 3, 3), source, target, periods).median()) > 45


def test_chance_is_a_quarter_of_the_period_for_even_yaws():
    yaws = torch.linspace(0, 2 * math.pi, 2001)[:-1]
    tilt = matrix_from_six(torch.tensor([1.0, 0, 0, 0, 0.5, -0.8]))
    for period in (360, 180):
        found = rotation_metrics.chance(tilt @ turn(yaws), torch.full((2000,), period))
        assert found["median_of_random"] == pytest.approx(period / 4, rel=0.08)
        assert found["median_of_constant"] == pytest.approx(period / 4, rel=0.08)


def test_a_constant_is_a_good_answer_where_all_look_the_same_way():
    true = matrix_from_six(torch.tensor([1.0, 0, 0, 0, 0.5, -0.8])).expand(50, 3, 3)
    found = rotation_metrics.chance(true, torch.full((50,), 360))
    assert found["median_of_constant"] <= 2.5 and found["median_of_random"] > 60


def test_summary_of_errors():
    found = rotation_metrics.summary(torch.tensor([0.0, 10.0, 20.0, 90.0]))
    assert found == {"objects": 4, "median": 15, "mean": 30, "within_15": 0.5, "within_30": 0.75}
    assert rotation_metrics.summary(torch.empty(0))["objects"] == 0


def test_an_object_of_a_scene_that_is_turned_has_turned_by_as_much():
    """The whole chain: a scene's own rotations, the views of another camera, and the metric agree that nothing has turned in the world."""
    data = Scenes(resolution=32, twin_probability=0.0, view_probability=1.0)
    unchanged = [ViewTransform()] * 6
    batch = data.collate(data.items(list(range(6))), unchanged, unchanged, list(range(6)))
    source, target, period = batch.source.rotations, batch.target.rotations, batch.rotation_period
    counted = rotation_metrics.visible(source, period, batch.source.regions.valid)
    assert not counted[:, 0].any() and int(counted.sum()) > 5
    counted = counted & rotation_metrics.visible(target, period, batch.target.regions.valid)
    said = rotation.compose(target, source.mT)[counted]
    assert float(rotation_metrics.relative_errors(said, source[counted], target[counted], period[counted]).max()) < 0.1
    moved = rotation_metrics.relative_errors(torch.eye(3).expand_as(said), source[counted], target[counted], period[counted])
    assert 1 < float(moved.median()) < 45, "another camera shows another side"
