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


def test_a_loss_in_warm_up_rises_from_nothing_to_its_weight():
    weights = losses.LossWeights(rotation=2.0, warmup_steps={"rotation": 100, "pose": 0})
    assert [weights.at(step)["rotation"] for step in (0, 50, 100, 500)] == [0, 1, 2, 2]
    assert weights.at(0)["masked_diffusion"] == 1.0 and weights.at(0)["pose"] == 0.0
    assert set(weights.at(0)) == set(losses.LossWeights.names()) and "largest" not in weights.at(0)


def test_a_loss_in_warm_up_counts_for_nothing_but_is_there():
    weights = losses.LossWeights(classes=1.0, warmup_steps={"classes": 10})
    value = torch.tensor(3.0, requires_grad=True)
    total = losses.combine({"classes": value}, weights.at(0)).total
    total.backward()
    assert total == 0 and value.grad == 0


def test_a_loss_is_computed_from_its_first_step_on():
    weights = losses.LossWeights(draft=1.0, first_steps={"masked_diffusion": 10, "rotation": 3})
    assert weights.wanted(9) == {"draft", "per_region_diffusion"}
    assert weights.wanted(10) == {"draft", "per_region_diffusion", "masked_diffusion"}


@pytest.mark.parametrize("schedule", ["warmup_steps", "first_steps"])
@pytest.mark.parametrize("steps", [{"largest": 5}, {"rotations": 5}, {"rotation": -1}])
def test_a_schedule_that_cannot_be_meant_is_refused(schedule, steps):
    with pytest.raises(ValueError, match=next(iter(steps))):
        losses.LossWeights(**{schedule: steps})


def test_a_schedule_that_leaves_nothing_to_train_on_is_refused():
    with pytest.raises(ValueError, match="no loss is left for step 0"):
        losses.LossWeights(first_steps={"masked_diffusion": 5, "per_region_diffusion": 5})


def test_repulsion_sees_pairs_of_different_valid_regions_of_one_image_only():
    tokens = torch.zeros(2, 3, 2, 4)
    tokens[:, :, :, 0] = 1.0  # all alike
    tokens[0, 1, :, 0], tokens[0, 1, :, 1] = 0.0, 1.0  # but one
    valid = torch.tensor([[True, True, False], [False, True, False]])
    assert losses.token_repulsion_loss(tokens, valid, margin=0.25) == 0  # the two of image 0 are orthogonal; image 1 has one region
    valid = torch.tensor([[True, False, True], [False, True, False]])
    assert losses.token_repulsion_loss(tokens, valid, margin=0.25) == 0.75
    assert losses.token_repulsion_loss(tokens, torch.ones(2, 3, dtype=torch.bool), 0.25) == pytest.approx(0.75 * 4 / 6)


def test_repulsion_pushes_regions_apart():
    tokens = torch.randn(1, 2, 1, 8, generator=torch.Generator().manual_seed(0)).mul(0.1).add(1.0).requires_grad_()
    valid = torch.ones(1, 2, dtype=torch.bool)
    for _ in range(200):
        loss = losses.token_repulsion_loss(tokens, valid, margin=0.0)
        tokens.data -= torch.autograd.grad(loss, tokens)[0]
    assert loss < 0.01


def test_attention_inside_the_own_mask_costs_nothing_and_outside_all():
    masks = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    masks[0, 1, :4], masks[0, 2, 4:] = True, True
    token_region = torch.tensor([-1, 1, 1, 2])
    attention = torch.zeros(1, 16, 4)
    attention[0, :, 0] = 0.5
    attention[0, :8, 1], attention[0, 8:, 3] = 0.5, 0.5  # region 1 looks at its own half, and so does region 2
    valid = torch.tensor([[True, True, True]])  # region 0 has neither mask nor tokens
    assert losses.attention_region_loss(attention, token_region, masks, valid) == 0
    assert losses.attention_region_loss(attention.flip(1), token_region, masks, valid) == 1
    attention[0, 8:, 2] = 0.5  # half of region 1's mass is outside
    assert losses.attention_region_loss(attention, token_region, masks, valid) == pytest.approx(0.25)
    assert losses.attention_region_loss(attention / 7, token_region, masks, valid) == pytest.approx(0.25)
    assert losses.attention_region_loss(attention, token_region, masks, valid, padding=masks[:, 2]) == 0, "what lies outside is padding"


def test_variance_loss_wants_regions_to_differ():
    valid = torch.ones(8, 4, dtype=torch.bool)
    same = torch.ones(8, 4, 2, 16)
    spread = 2 * torch.randn(8, 4, 2, 16, generator=torch.Generator().manual_seed(0))
    assert losses.token_variance_loss(same, valid) == pytest.approx(0.99)
    assert losses.token_variance_loss(spread, valid) == 0
    assert losses.token_variance_loss(spread, valid, target=4.0) == pytest.approx(2.0, abs=0.1)
    spread[:, 2:] = same[:, 2:]
    assert losses.token_variance_loss(spread, valid & (torch.arange(4) >= 2)) == pytest.approx(0.99)
    assert losses.token_variance_loss(same, valid & False) == 0


def test_unknown_labels_do_not_count():
    logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0], [0.0, 9.0]]])
    assert losses.class_loss(logits, torch.tensor([[0, 1, -1]])) < 0.001
    assert losses.class_loss(logits, torch.tensor([[1, -1, -1]])) == pytest.approx(9, abs=0.001)
    assert losses.class_loss(logits, torch.tensor([[-1, -1, -1]])) == 0


def test_pose_error_is_of_valid_regions():
    centre, size = torch.full((1, 2, 2), 0.5), torch.full((1, 2, 2), 0.25)
    predicted = torch.tensor([[[0.5, 0.5, 0.25, 0.25], [0.5, 0.9, 0.25, 0.25]]])
    assert losses.pose_loss(predicted, centre, size, torch.tensor([[True, False]])) == 0
    assert losses.pose_loss(predicted, centre, size, torch.tensor([[True, True]])) == pytest.approx(0.16 / 8)


def test_rotation_loss_is_eight_times_the_squared_sine_of_half_the_angle():
    angle = torch.tensor(0.7)
    turned = torch.eye(3)
    turned[0, 0], turned[0, 1], turned[1, 0], turned[1, 1] = angle.cos(), -angle.sin(), angle.sin(), angle.cos()
    predicted = torch.stack([turned, torch.eye(3)])[None].requires_grad_()
    target = torch.stack([torch.eye(3), torch.full((3, 3), torch.nan)])[None]
    loss = losses.rotation_loss(predicted, target, torch.tensor([[True, False]]))
    loss.backward()
    assert loss.item() == pytest.approx(float(8 * (angle / 2).sin() ** 2), rel=1e-5)
    assert bool(predicted.grad.isfinite().all()) and not predicted.grad[0, 1].any()


def test_a_yaw_is_right_when_its_bin_and_its_place_in_the_bin_are():
    logits, residuals = torch.full((1, 2, 4), -20.0), torch.zeros(1, 2, 4)
    logits[0, 0, 1], residuals[0, 0, 1] = 20.0, -0.3
    phase, known = torch.tensor([[0.3, torch.nan]]), torch.tensor([[True, False]])
    assert losses.yaw_bin_loss(logits, residuals, phase, known) == pytest.approx(0, abs=1e-6)
    assert losses.yaw_bin_loss(logits, residuals, phase + 0.1, known) == pytest.approx(0.5 * 0.4**2, rel=1e-4)
    assert losses.yaw_bin_loss(logits, residuals, phase + 0.25, known) > 30


def test_a_region_of_a_quarter_of_a_cell_counts_as_much_as_a_large_one():
    error, masks = torch.full((1, 2, 2), 3.0), torch.zeros(1, 2, 2, 2)
    masks[0, 0], masks[0, 1, 0, 0] = 1.0, 0.25
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert float(losses.per_region_diffusion_loss(error, torch.ones(1), masks, valid)) == pytest.approx(3.0)


def test_a_place_with_some_padding_in_it_does_not_count():
    padding = torch.zeros(2, 4, 8, dtype=torch.bool)
    padding[0, :, 5:] = True
    shown = losses.without_padding(torch.zeros(2, 2, 4), padding)
    assert shown.tolist() == [[[1, 1, 0, 0]] * 2, [[1, 1, 1, 1]] * 2]
    assert torch.equal(losses.without_padding(torch.zeros(2, 2, 4), None), torch.ones(2, 2, 4))
