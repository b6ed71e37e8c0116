"""DCI: one number for each factor is perfect, a rotated code is not, and both are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from gen.evaluation.disentanglement import dci, dci_scores, fit_group_lasso
from gen.evaluation.tokens import TokenSet

NAMES = ("a", "b", "c", "d")


def coded(code: torch.Tensor, factors: torch.Tensor) -> TokenSet:
    return TokenSet(code[:, None], dict(zip(NAMES, factors.unbind(1), strict=True)), {})


@pytest.fixture(scope="module")
def factors() -> torch.Tensor:
    return torch.rand(600, 4, generator=torch.Generator().manual_seed(0))


def scores(code: torch.Tensor, factors: torch.Tensor) -> dict[str, float]:
    return dci(coded(code[:400], factors[:400]), coded(code[400:], factors[400:]), NAMES)


def test_importance_of_known_scores():
    assert dci_scores(torch.eye(4)) == pytest.approx((1, 1))
    assert dci_scores(torch.eye(4)[[2, 0, 3, 1]]) == pytest.approx((1, 1))  # permuted
    assert dci_scores(torch.ones(4, 4)) == pytest.approx((0, 0))
    # Two numbers for each of two factors: every number is of one factor, every factor in half of the numbers.
    assert dci_scores(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])) == pytest.approx((1, 0.5))
    # One number for both factors.
    assert dci_scores(torch.tensor([[1.0, 1], [0, 0]])) == pytest.approx((0, 1))


def test_numbers_that_tell_much_weigh_more():
    assert dci_scores(torch.tensor([[9.0, 0], [0.5, 0.5]]))[0] == pytest.approx(0.9)


def test_a_factor_that_nothing_tells_is_not_complete():
    assert dci_scores(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))[1] == pytest.approx(2 / 3)


def test_an_identity_code_is_disentangled_complete_and_informative(factors):
    noise = torch.rand(600, 4, generator=torch.Generator().manual_seed(1))
    found = scores(torch.cat([factors, noise], 1), factors)
    assert found["dci_disentanglement"] > 0.97 and found["dci_completeness"] > 0.97
    assert found["dci_informativeness"] > 0.99


def test_a_rotated_code_tells_as_much_and_is_entangled(factors):
    """Every number of the rotated code is half of every factor: a Hadamard matrix."""
    pair = torch.tensor([[1.0, 1], [1, -1]])
    found = scores(factors @ torch.kron(pair, pair) / 2, factors)
    assert found["dci_disentanglement"] < 0.05 and found["dci_completeness"] < 0.05
    assert found["dci_informativeness"] > 0.99


def test_a_code_of_noise_tells_nothing(factors):
    found = scores(torch.rand(600, 4, generator=torch.Generator().manual_seed(2)), factors)
    assert abs(found["dci_informativeness"]) < 0.05


def test_a_class_is_one_factor_whatever_the_number_of_its_values():
    """A one-hot code of the class, and one number for the quantity: the numbers are single-minded, the class is spread over five of six."""
    generator = torch.Generator().manual_seed(0)
    kind, amount = torch.randint(5, (600,), generator=generator), torch.rand(600, generator=generator)
    code = torch.cat([torch.eye(5)[kind], amount[:, None]], 1)
    sets = [TokenSet(code[rows, None], {"kind": kind[rows], "amount": amount[rows]}, {}) for rows in (slice(400), slice(400, None))]
    found = dci(*sets, ("kind", "amount"))
    assert found["dci_disentanglement"] > 0.97
    assert found["dci_completeness"] == pytest.approx((1 + 1 - math.log(5) / math.log(6)) / 2, abs=0.02)
    assert found["dci_informativeness_kind"] > 0.99


def test_the_lasso_leaves_out_what_does_not_matter():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(300, 6, generator=generator)
    weights = fit_group_lasso(features, 2 * features[:, 1:2] - features[:, 4:5] + 7 + 0.1 * torch.randn(300, 1, generator=generator))
    assert weights[1, 0] == pytest.approx(2, abs=0.15) and weights[4, 0] == pytest.approx(-1, abs=0.15)
    assert weights[[0, 2, 3, 5]].abs().max() < 0.03


def test_what_cannot_be_scored_is_refused(factors):
    for importance in (torch.zeros(3, 3), torch.ones(1, 3), torch.ones(3, 1), -torch.eye(3)):
        with pytest.raises(ValueError, match="DCI needs"):
            dci_scores(importance)
    with pytest.raises(ValueError, match="same for all 400 objects"):
        scores(torch.ones(600, 4), factors)
    flat = factors.clone()
    flat[:, 2] = 1.0
    with pytest.raises(ValueError, match="factor c is constant"):
        scores(factors, flat)
