"""Losses against values worked out by hand."""

from __future__ import annotations

import pytest
import torch

from gen import losses


def test_masked_loss_does_not_depend_on_the_area_of_the_mask():
    error = torch.full((2, 4, 4), 3.0)
    mask = torch.zeros(2, 4, 4)
    mask[0, :1], mask[1, :, :3] = 1, 1
    assert losses.masked_diffusion_loss(error, torch.ones(2), mask) == 3


def test_small_regions_count_as_much_as_large_ones():
    error = torch.zeros(1, 4, 4)
    error[0, 0, 0] = 1.0
    masks = torch.zeros(1, 3, 4, 4)
    masks[0, 1, 0, 0], masks[0, 0] = 1, 1
    masks[0, 0, 0, 0] = 0
    valid = torch.tensor([[True, True, False]])
    assert losses.per_region_diffusion_loss(error, torch.ones(1), masks, valid) == 0.5


def test_equal_tokens_have_no_similarity_loss_and_opposite_ones_two():
    tokens = torch.randn(1, 2, 1, 8)
    both = torch.tensor([[True, False]])
    assert float(losses.feature_similarity_loss(tokens, tokens, both)) == pytest.approx(0, abs=1e-6)
    assert float(losses.feature_similarity_loss(tokens, -tokens, both)) == pytest.approx(2, abs=1e-6)


def test_stop_gradient_lets_only_the_first_copy_move():
    first, second = torch.randn(1, 1, 1, 4, requires_grad=True), torch.randn(1, 1, 1, 4, requires_grad=True)
    losses.feature_similarity_loss(first, second, torch.ones(1, 1, dtype=torch.bool)).backward()
    assert first.grad is not None and second.grad is None


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_velocity_weight_turns_any_error_into_the_velocitys(kind):
    """Perturb the prediction, convert to velocity by hand, and compare squared errors."""
    alphas_cumprod = torch.tensor([0.3])
    a, s = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
    clean, noise, change = torch.randn(3, 50)
    noisy = a * clean + s * noise
    velocity = a * noise - s * clean
    guess = {"sample": clean + change, "epsilon": noise + change, "v_prediction": velocity + change}[kind]
    as_velocity = {
        "sample": lambda: a * (noisy - a * guess) / s - s * guess,
        "epsilon": lambda: a * guess - s * (noisy - s * guess) / a,
        "v_prediction": lambda: guess,
    }[kind]()
    weight = losses.velocity_weight(alphas_cumprod, kind, 1e6)
    torch.testing.assert_close(weight * change.square().mean(), (as_velocity - velocity).square().mean()[None], rtol=1e-4, atol=1e-4)


def test_velocity_weight_is_bounded():
    assert losses.velocity_weight(torch.tensor([1.0]), "sample", 5.0) == 5
