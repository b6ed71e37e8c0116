"""Intervals hold what is known of them: constants have none, pairs cancel what scenes share, coverage is what it says."""

from __future__ import annotations

import math

import pytest
import torch

from gen.evaluation.intervals import bootstrap, noise_floor, paired_difference, spread, summarise


def test_a_constant_is_known_exactly():
    estimate = bootstrap(torch.full((20,), 3.0))
    assert (estimate.value, estimate.low, estimate.high) == (3.0, 3.0, 3.0)


def test_statistics_of_known_values():
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 90.0])
    assert float(summarise(values)) == 20 and float(summarise(values, "median")) == 3
    assert float(summarise(values, "95th percentile")) == pytest.approx(4 + 0.8 * 86)


def test_the_interval_of_a_mean_is_about_two_standard_errors():
    values = torch.randn(400, generator=torch.Generator().manual_seed(1))
    estimate = bootstrap(values)
    half = 1.96 * float(values.std()) / 20
    assert estimate.low == pytest.approx(float(values.mean()) - half, abs=0.02)
    assert estimate.high == pytest.approx(float(values.mean()) + half, abs=0.02)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(2)
    estimates = [bootstrap(torch.randn(64, generator=generator)) for _ in range(100)]
    assert 88 <= sum(estimate.low <= 0 <= estimate.high for estimate in estimates) <= 99


def test_the_same_seed_gives_the_same_interval():
    values = torch.randn(30, generator=torch.Generator().manual_seed(3))
    assert bootstrap(values, seed=4) == bootstrap(values, seed=4) != bootstrap(values, seed=5)


def test_pairing_cancels_what_the_scenes_share():
    """Scenes differ by tens, the methods by one: paired, the difference is exact; unpaired, it would drown."""
    scenes = torch.linspace(10, 60, 64)
    difference = paired_difference(scenes + 1, scenes)
    assert difference.value == pytest.approx(1) and difference.high - difference.low < 1e-3
    alone = bootstrap(scenes)
    assert alone.high - alone.low > 5


def test_a_method_does_not_differ_from_itself_and_a_difference_changes_sign_with_its_order():
    values, others = torch.randn(2, 40, generator=torch.Generator().manual_seed(6))
    assert paired_difference(values, values) == paired_difference(others, others)
    one, two = paired_difference(values, others, "median"), paired_difference(others, values, "median")
    assert one.value == -two.value and one.low == pytest.approx(-two.high) and one.high == pytest.approx(-two.low)


def test_of_several_copies_the_statistic_is_taken_before_the_mean():
    """Each copy fails on another scene: every median is 0, while that of the scenes' means would be 3."""
    copies = torch.tensor([[9.0, 0, 0, 0, 0], [0, 9, 0, 0, 0], [0, 0, 9, 0, 0]])
    copies = copies.repeat(1, 20)
    estimate = bootstrap(copies, "median")
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)
    assert bootstrap(copies).value == pytest.approx(1.8)


def test_three_copies_against_one_of_the_same_kind_do_not_differ():
    """The 95th percentile of |noise| is 1.96 for one copy and for each of three; of means over three it would be smaller."""
    noise = torch.randn(4, 400, generator=torch.Generator().manual_seed(7)).abs()
    difference = paired_difference(noise[:3], noise[3], "95th percentile")
    assert difference.low < 0 < difference.high and abs(difference.value) < 0.2
    of_means = paired_difference(noise[:3].mean(0), noise[3], "95th percentile")
    assert of_means.high < -0.1


def test_copies_that_agree_are_as_sure_as_one():
    values = torch.randn(50, generator=torch.Generator().manual_seed(8))
    assert bootstrap(values.expand(3, -1), "median").low == pytest.approx(bootstrap(values, "median").low)
    assert bootstrap(values.expand(3, -1), "median").high == pytest.approx(bootstrap(values, "median").high)


def test_scenes_without_the_figure_are_left_out_on_both_sides():
    values, others = torch.tensor([1.0, torch.nan, 3.0, 100.0]), torch.tensor([0.0, 50.0, 2.0, torch.nan])
    difference = paired_difference(values, others)
    assert (difference.value, difference.low, difference.high) == (1, 1, 1)
    assert bootstrap(values[:3]).value == 2
    assert math.isnan(bootstrap(torch.full((3,), torch.nan)).low)


def test_spread_of_trained_copies():
    three, one = spread([1.0, 2.0, 3.0]), spread([5.0])
    assert (three.mean, three.deviation, three.count) == (2.0, 1.0, 3)
    assert (one.mean, one.deviation, one.count) == (5.0, None, 1)


def test_noise_floor_is_that_of_the_mean_not_of_the_scenes():
    """Seed two adds 2 dB to every scene, however much the scenes differ: means 2 apart have a deviation of the root of 2."""
    scenes = torch.tensor([0.0, 100.0, 1000.0])
    assert noise_floor(torch.stack([scenes, scenes + 2])) == pytest.approx(math.sqrt(2))
    assert noise_floor(torch.stack([scenes, scenes])) == 0


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: bootstrap(torch.zeros(0)), "no scene"),
        (lambda: paired_difference(torch.zeros(2), torch.zeros(3)), "2 and 3 scenes"),
        (lambda: spread([]), "no value"),
        (lambda: noise_floor(torch.zeros(1, 5)), "at least 2"),
    ],
)
def test_what_cannot_be_told_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
