"""Probes find what is planted, and nothing where there is nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gen.evaluation.probes import explained, fit_classifier, fit_probes, fit_ridge, nearest_votes, probe
from gen.evaluation.tokens import TokenSet


def planted(count: int, seed: int) -> TokenSet:
    """Shape and colour are coded in four numbers each, x in one; material, size and y are not; the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    shape, colour, material = (torch.randint(k, (count,), generator=generator) for k in (4, 4, 3))
    size, width, height, x, y = torch.rand(5, count, generator=generator).unbind()
    noise = torch.randn(count, 8, generator=generator)
    one_hot = torch.cat([torch.eye(4)[shape], torch.eye(4)[colour], x[:, None]], 1)
    tokens = torch.cat([one_hot + 0.01 * torch.randn(one_hot.shape, generator=generator), noise], 1)[:, None]
    labels = {"shape": shape, "colour": colour, "material": material, "size": size, "width": width, "height": height, "x": x, "y": y}
    return TokenSet(tokens, labels, {})


@pytest.fixture(scope="module")
def figures() -> dict[str, float]:
    train, test = planted(400, 0), planted(300, 1)
    return probe(train, test, fit_probes(train))


def test_what_is_coded_is_read(figures):
    assert figures["shape_linear"] == figures["colour_linear"] == 1
    assert figures["shape_knn"] > 0.8
    assert figures["x_r2"] > 0.98


def test_what_is_not_coded_is_not_read(figures):
    assert figures["material_linear"] < 0.42 and figures["material_knn"] < 0.42  # a third is chance
    assert abs(figures["size_r2"]) < 0.1 and abs(figures["y_r2"]) < 0.1


def test_the_control_with_shuffled_labels_reads_nothing(figures):
    assert figures["shape_shuffled"] < 0.37 and figures["colour_shuffled"] < 0.37  # a quarter is chance
    assert abs(figures["x_r2_shuffled"]) < 0.1


def test_chance_is_the_share_of_the_training_parts_most_frequent_class():
    train, test = planted(60, 0), planted(50, 1)
    train.labels["shape"][:40] = 2
    test.labels["shape"][:] = torch.tensor([2] * 10 + [0] * 40)
    assert probe(train, test, fit_probes(train))["shape_chance"] == pytest.approx(0.2)


def test_a_probe_does_not_care_for_scale_and_shift():
    train = planted(200, 0)
    moved = train.features * 1000 + 50
    same, other = fit_classifier(train.features, train.labels["shape"], 4), fit_classifier(moved, train.labels["shape"], 4)
    assert same.penalty == other.penalty
    torch.testing.assert_close(same(train.features), other(moved), atol=2e-2, rtol=1e-2)


def around(*degrees: float) -> torch.Tensor:
    """Return unit vectors, each with its opposite so that their mean is 0."""
    angles = torch.tensor([*degrees, *(value + 180 for value in degrees)]) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_a_nearer_neighbour_counts_more():
    """One near neighbour outvotes two far ones, and its share of the votes falls as it goes away."""
    labels = torch.tensor([1, 0, 0, 0, 0, 0])
    ahead = torch.tensor([[1.0, 0.0]])
    shares = [float(nearest_votes(around(near, 40, -40), labels, ahead, 2, neighbours=3)[0, 1]) for near in (2, 15, 30, 39)]
    assert shares[0] > 0.5  # though two of the three neighbours are of class 0
    assert shares == sorted(shares, reverse=True) and shares[-1] == pytest.approx(1 / 3, abs=0.06)


def test_a_ridge_regression_recovers_a_linear_map():
    generator = torch.Generator().manual_seed(0)
    features, true = torch.randn(200, 5, generator=generator), torch.randn(5, 2, generator=generator)
    found = fit_ridge(features, features @ true + 3)
    torch.testing.assert_close(found(features), features @ true + 3, atol=2e-3, rtol=0)


def test_r2_of_known_answers():
    truth = torch.tensor([[0.0], [1.0], [2.0]])
    assert explained(truth, truth).tolist() == [1]
    assert explained(torch.ones(3, 1), truth).tolist() == [0]
    assert explained(2 - truth, truth).tolist() == [-3]  # inverted: four times the variance
    with pytest.raises(ValueError, match="constant"):
        explained(truth, torch.ones(3, 1))


def test_missing_labels_other_widths_and_unseen_classes_are_refused():
    train, test = planted(60, 0), planted(50, 1)
    probes = fit_probes(train)
    with pytest.raises(ValueError, match="without the labels shape"):
        fit_probes(replace(train, labels={name: values for name, values in train.labels.items() if name != "shape"}))
    with pytest.raises(ValueError, match="export both with one pipeline"):
        probe(train, replace(test, tokens=test.tokens[..., :3]), probes)
    test.labels["colour"][0] = 6
    with pytest.raises(ValueError, match="colour 6"):
        probe(train, test, probes)
