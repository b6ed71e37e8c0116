"""Noise and the way back: exact oracles are sampled exactly, whatever is predicted and whoever samples."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
)

from gen import losses
from gen.models.noise_process import NoiseProcess, build_scheduler, scheduler_from_config

KINDS = [(kind, sampler) for kind in ("sample", "epsilon", "v_prediction") for sampler in ("ddim", "dpm_solver")] + [("flow", "euler_flow")]
SHAPE = (2, 3, 4, 4)


def process(kind: str, sampler: str, clip_sample: bool = False) -> NoiseProcess:
    return NoiseProcess(build_scheduler(kind, sampler, clip_sample))


def draw(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def level_of(noise: NoiseProcess, timesteps: torch.Tensor) -> torch.Tensor:
    """Return levels whose timesteps are these."""
    return timesteps / 1000 if noise.prediction_type == "flow" else (timesteps + 0.5) / 1000


def oracle(noise: NoiseProcess, mean: torch.Tensor, spread: float):
    """Return the best possible predictor for clean latents that are N(mean, spread^2); a spread of 0 is a point mass."""

    def predict(noisy, timesteps):
        levels = level_of(noise, timesteps)
        a, s = noise._amplitudes(levels)
        share = a * spread**2 / (a**2 * spread**2 + s**2)
        clean = mean + share * (noisy - a * mean)
        return noise.goal(clean, (noisy - a * clean) / s, levels)

    return predict


@pytest.mark.parametrize(("kind", "sampler"), KINDS)
@pytest.mark.parametrize("num_inference_steps", [1, 4, 20])
def test_a_point_mass_is_found_in_any_number_of_steps(kind, sampler, num_inference_steps):
    noise, clean = process(kind, sampler), draw(1).clamp(-1, 1)
    sampled = noise.sample(oracle(noise, clean, 0.0), draw(2), num_inference_steps)
    torch.testing.assert_close(sampled, clean, atol=0.01, rtol=0)


@pytest.mark.parametrize(("kind", "sampler", "steps"), [(k, s, 20 if s == "dpm_solver" else 250) for k, s in KINDS])
def test_a_gaussian_is_sampled_along_the_exact_path(kind, sampler, steps):
    """For x_0 ~ N(m, c^2) the probability flow takes noise z to m + c z; so all samplers agree with each other."""
    noise, mean, z = process(kind, sampler), draw(1), draw(2)
    sampled = noise.sample(oracle(noise, mean, 0.5), z, steps)
    torch.testing.assert_close(sampled, mean + 0.5 * z, atol=0.02, rtol=0)


@pytest.mark.parametrize(("kind", "sampler"), KINDS)
def test_the_goal_says_what_is_clean(kind, sampler):
    noise, clean, e = process(kind, sampler), draw(1), draw(2)
    for level in (0.0, 0.3, 0.9):
        levels = torch.full((2,), level)
        noisy = noise.add_noise(clean, e, levels)
        torch.testing.assert_close(noise.clean(noise.goal(clean, e, levels), noisy, levels), clean, atol=1e-4, rtol=0)


def test_levels_go_from_clean_to_noise():
    for kind, sampler in KINDS:
        noise, clean, e = process(kind, sampler), draw(1), draw(2)
        torch.testing.assert_close(noise.add_noise(clean, e, torch.zeros(2)), clean, atol=0.03, rtol=0)
        torch.testing.assert_close(noise.add_noise(clean, e, torch.full((2,), 0.9999)), e, atol=2e-3, rtol=0)


def test_with_betas_the_numbers_are_diffusers_own():
    noise, clean, e = process("v_prediction", "ddim"), draw(1), draw(2)
    levels = torch.tensor([0.1234, 0.8765])
    timesteps = noise.timesteps(levels)
    assert timesteps.tolist() == [123, 876] and timesteps.dtype == torch.int64
    assert torch.equal(noise.add_noise(clean, e, levels), noise.scheduler.add_noise(clean, e, timesteps))
    assert torch.equal(noise.goal(clean, e, levels), noise.scheduler.get_velocity(clean, e, timesteps))


def test_flow_is_a_straight_line_and_its_goal_the_velocity():
    noise, clean, e = process("flow", "euler_flow"), draw(1), draw(2)
    quarter, half = (noise.add_noise(clean, e, torch.full((2,), level)) for level in (0.25, 0.5))
    torch.testing.assert_close(half - quarter, 0.25 * noise.goal(clean, e, torch.rand(2)))
    assert noise.timesteps(torch.tensor([0.25, 0.5])).tolist() == [250.0, 500.0]


@pytest.mark.parametrize(("kind", "sampler"), [("sample", "ddim"), ("epsilon", "ddim"), ("v_prediction", "ddim"), ("flow", "euler_flow")])
def test_the_weight_makes_every_error_the_velocitys(kind, sampler):
    """The same mistake in x_0 costs the same in every parameterisation; for the flow it is the flow's own velocity."""
    noise, clean, e, levels = process(kind, sampler), draw(1), draw(2), torch.tensor([0.4, 0.7])
    noisy = noise.add_noise(clean, e, levels)
    a, s = noise._amplitudes(levels)
    wrong = clean + 0.1
    error = (noise.goal(wrong, (noisy - a * wrong) / s, levels) - noise.goal(clean, e, levels)).square().mean((1, 2, 3))
    torch.testing.assert_close(noise.velocity_weight(levels, 1e6) * error, (0.1 / s.flatten()) ** 2, rtol=1e-3, atol=0)


def test_the_weight_is_bounded_as_the_losses_say():
    noise, levels = process("sample", "ddim"), torch.tensor([0.01, 0.99])
    alphas = noise.scheduler.alphas_cumprod[noise.timesteps(levels)]
    assert torch.equal(noise.velocity_weight(levels, 5.0), losses.velocity_weight(alphas, "sample", 5.0))
    assert noise.velocity_weight(levels, 5.0)[0] == 5.0


@pytest.mark.parametrize(("kind", "sampler"), KINDS)
def test_samplings_do_not_disturb_each_other_or_training(kind, sampler):
    noise, clean, z = process(kind, sampler), draw(1), draw(2)
    predict = oracle(noise, clean, 0.5)
    alone = noise.sample(predict, z, 4)
    before = noise.add_noise(clean, z, torch.tensor([0.2, 0.6]))

    def interrupted(noisy, timesteps):
        noise.sample(predict, z, 3)
        return predict(noisy, timesteps)

    assert torch.equal(noise.sample(interrupted, z, 4), alone)
    assert torch.equal(noise.add_noise(clean, z, torch.tensor([0.2, 0.6])), before)


@pytest.mark.parametrize("sampler", ["ddim", "dpm_solver"])
def test_clipping_keeps_pixels_in_their_range(sampler):
    noise = process("sample", sampler, clip_sample=True)
    sampled = noise.sample(lambda noisy, timesteps: torch.full_like(noisy, 3.0), draw(), 4)
    torch.testing.assert_close(sampled, torch.ones(SHAPE), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("kind", "sampler", "remedy"), [
    ("flow", "ddim", "sampler=euler_flow"), ("flow", "dpm_solver", "sampler=euler_flow"), ("sample", "euler_flow", "ddim or dpm_solver"),
])  # fmt: skip
def test_a_sampler_that_cannot_sample_it_is_refused(kind, sampler, remedy):
    with pytest.raises(
        ValueError, match=rf"model.decoder.sampler={sampler}: cannot sample model.decoder.prediction_type={kind}; .*{remedy}"
    ):
        build_scheduler(kind, sampler)


def test_noise_cannot_be_predicted_without_signal():
    with pytest.raises(ValueError, match="prediction_type=epsilon: this scheduler's last step has no signal"):
        NoiseProcess(DDIMScheduler(rescale_betas_zero_snr=True))


def test_less_than_one_step_is_refused():
    noise = process("sample", "ddim")
    with pytest.raises(ValueError, match="num_inference_steps=0"):
        noise.sample(oracle(noise, draw(), 0.0), draw(), 0)


@pytest.mark.parametrize("other", [PNDMScheduler, EulerDiscreteScheduler, DDIMScheduler, DPMSolverMultistepScheduler])
def test_another_schedulers_noise_is_kept(other):
    """A folder's scheduler becomes DDIM: the same betas, prediction and offset, and latents are not clipped to pixels' range."""
    settings = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "steps_offset": 1,
    }
    if other is DDIMScheduler:
        settings |= {"clip_sample": False, "rescale_betas_zero_snr": True}
    original = other(**settings)
    made = scheduler_from_config(original.config)
    assert isinstance(made, DDIMScheduler) and not made.config.clip_sample
    assert made.config.prediction_type == "v_prediction" and made.config.steps_offset == 1
    torch.testing.assert_close(made.alphas_cumprod, original.alphas_cumprod)


def test_a_flow_scheduler_stays_one():
    config = FlowMatchEulerDiscreteScheduler(shift=3.0).config
    made = scheduler_from_config(config, "euler_flow")
    assert made.config.shift == 3.0 and NoiseProcess(made).prediction_type == "flow"
    with pytest.raises(ValueError, match="these weights were trained with flow"):
        scheduler_from_config(config, "ddim", "epsilon")


@pytest.mark.parametrize("prediction_type", ["sample", "epsilon", "v_prediction"])
def test_a_level_that_was_rounded_to_one_is_the_last_step(prediction_type):
    """Below 1 by less than fp32 can say: the noise of that step, not a crash."""
    process = NoiseProcess(build_scheduler(prediction_type))
    assert process.timesteps(torch.tensor([1.0, 0.9995])).tolist() == [999, 999]
