"""NoiseProcess: how clean latents become noise, what the decoder predicts on the way, and the way back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from gen import losses

PredictionType = Literal["sample", "epsilon", "v_prediction", "flow"]
Sampler = Literal["ddim", "dpm_solver", "euler_flow"]

_TRAIN_TIMESTEPS = 1000
# What describes the noise itself; the rest of a scheduler's config describes how that scheduler samples.
_NOISE_SETTINGS = (
    "num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas", "steps_offset", "timestep_spacing",
    "rescale_betas_zero_snr",
)  # fmt: skip


def build_scheduler(
    prediction_type: PredictionType = "sample",
    sampler: Sampler = "ddim",
    clip_sample: bool = True,
    beta_schedule: str = "squaredcos_cap_v2",
) -> Any:
    """Build a diffusers scheduler that starts sampling where training ended: at no signal at all.

    Args:
        prediction_type: "sample" (the clean latents), "epsilon" (the noise), "v_prediction" or "flow" (the velocity of a straight path).
        sampler: "ddim" or "dpm_solver" (DPM-Solver++ of second order); "euler_flow" for flow, and for nothing else.
        clip_sample: keep predicted clean samples in [-1, 1], where pixels are and an autoencoder's latents are not; flow does not clip.
        beta_schedule: a name that diffusers knows; flow has none.

    Raises:
        ValueError: if the sampler cannot sample what is predicted.

    Source: Lin et al. 2023, arXiv 2305.08891 (no terminal signal, trailing steps; the noise cannot be predicted without any signal, so
        "epsilon" keeps a little); Song et al. 2020, arXiv 2010.02502; Lu et al. 2022, arXiv 2211.01095; Lipman et al. 2022, arXiv
        2210.02747.
    """
    settings = {
        "num_train_timesteps": _TRAIN_TIMESTEPS,
        "beta_schedule": beta_schedule,
        "prediction_type": prediction_type,
        "rescale_betas_zero_snr": prediction_type != "epsilon",
        "timestep_spacing": "trailing",
        "clip_sample": clip_sample,
    }
    return scheduler_from_config(settings, sampler)


def scheduler_from_config(config: Mapping[str, Any], sampler: Sampler = "ddim", prediction_type: PredictionType | None = None) -> Any:
    """Build a scheduler with the noise of another: of the one that a Stable Diffusion folder came with, say.

    Args:
        config: of any diffusers scheduler with betas (PNDM, DDIM, Euler, ...), or of the flow-matching Euler scheduler.
        sampler: of the new scheduler, see `build_scheduler`.
        prediction_type: what the decoder shall predict; None keeps the config's.

    Raises:
        ValueError: if the sampler cannot sample what is predicted.
    """
    from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

    is_flow = "shift" in config  # which only the flow-matching scheduler has
    kind = prediction_type or ("flow" if is_flow else config.get("prediction_type", "epsilon"))
    for name, value, known in (("prediction_type", kind, PredictionType), ("sampler", sampler, Sampler)):
        if value not in get_args(known):
            raise ValueError(f"model.decoder.{name}={value}: unknown; give one of {', '.join(get_args(known))}")
    if (kind == "flow") != (sampler == "euler_flow"):
        remedy = "euler_flow" if kind == "flow" else "ddim or dpm_solver"
        raise ValueError(f"model.decoder.sampler={sampler}: cannot sample model.decoder.prediction_type={kind}; give sampler={remedy}")
    if kind == "flow":
        shift = config.get("shift", 1.0) if is_flow else 1.0
        return FlowMatchEulerDiscreteScheduler(num_train_timesteps=_TRAIN_TIMESTEPS, shift=shift)
    if is_flow:
        raise ValueError(
            f"model.decoder.prediction_type={kind}: these weights were trained with flow; leave it out, with sampler=euler_flow"
        )
    settings = {key: config[key] for key in _NOISE_SETTINGS if key in config} | {"prediction_type": kind}
    clip = config.get("clip_sample", False)
    if sampler == "ddim":
        return DDIMScheduler(**settings, clip_sample=clip, set_alpha_to_one=config.get("set_alpha_to_one", True))
    # Thresholding whose largest value is 1 is clipping.
    return DPMSolverMultistepScheduler(**settings, algorithm_type="dpmsolver++", thresholding=clip, sample_max_value=1.0)


def shifted_levels(uniform: Float[Tensor, "*b"], shift: float) -> Float[Tensor, "*b"]:
    """Return s u / (1 + (s - 1) u): with a shift s above 1, more of the high noise levels.

    Source: Esser et al. 2024, arXiv 2403.03206, eq. 23.
    """
    return shift * uniform / (1 + (shift - 1) * uniform)


class NoiseProcess:
    """The noise of a diffusers scheduler: x = a x_0 + s e at every level, and sampling.

    A level is in [0, 1): 0 is clean. With betas the level picks one of the scheduler's steps and a^2 + s^2 = 1; with flow s is the level
    and a = 1 - s.

    Attributes:
        scheduler: the diffusers scheduler; it is never changed.
        prediction_type: what the decoder predicts: x_0, e, v = a e - s x_0, or the flow's velocity e - x_0.

    Raises:
        ValueError: if the noise is to be predicted where there is no signal left, or the scheduler predicts something unknown.

    Source: Salimans and Ho 2022, arXiv 2202.00512, section 4 (v); Lipman et al. 2022, arXiv 2210.02747 and Esser et al. 2024, arXiv
        2403.03206, section 2 (flow).
    """

    scheduler: Any
    prediction_type: PredictionType

    def __init__(self, scheduler: Any) -> None:
        kind: Any = scheduler.config.prediction_type if hasattr(scheduler, "alphas_cumprod") else "flow"
        if kind not in get_args(PredictionType):
            raise ValueError(f"scheduler: predicts {kind!r}; it must be one of {', '.join(get_args(PredictionType))}")
        if kind == "epsilon" and scheduler.config.get("rescale_betas_zero_snr"):
            raise ValueError(
                "model.decoder.prediction_type=epsilon: this scheduler's last step has no signal (rescale_betas_zero_snr), where "
                "the noise says nothing of the picture; give prediction_type=v_prediction or sample"
            )
        self.scheduler, self.prediction_type = scheduler, kind

    def timesteps(self, levels: Float[Tensor, " b"]) -> Shaped[Tensor, " b"]:
        """Return what the U-Net is told: whole steps with betas, 1000 s with flow."""
        steps = levels * self.scheduler.config.num_train_timesteps
        if self.prediction_type == "flow":
            return steps
        return steps.long().clamp(max=self.scheduler.config.num_train_timesteps - 1)  # a level just below 1 may be rounded to 1

    def add_noise(
        self, clean: Float[Tensor, "b c g2 g3"], noise: Float[Tensor, "b c g2 g3"], levels: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c g2 g3"]:
        """Return a x_0 + s e."""
        a, s = self._amplitudes(levels)
        return a * clean + s * noise

    def goal(
        self, clean: Float[Tensor, "b c g2 g3"], noise: Float[Tensor, "b c g2 g3"], levels: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c g2 g3"]:
        """Return what the decoder should predict."""
        if self.prediction_type == "sample":
            return clean
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "flow":
            return noise - clean
        a, s = self._amplitudes(levels)
        return a * noise - s * clean

    def clean(
        self, prediction: Float[Tensor, "b c g2 g3"], noisy: Float[Tensor, "b c g2 g3"], levels: Float[Tensor, " b"]
    ) -> Float[Tensor, "b c g2 g3"]:
        """Return the clean latents that a prediction stands for."""
        if self.prediction_type == "sample":
            return prediction
        a, s = self._amplitudes(levels)
        if self.prediction_type == "epsilon":
            return (noisy - s * prediction) / a
        return (noisy if self.prediction_type == "flow" else a * noisy) - s * prediction

    def velocity_weight(self, levels: Float[Tensor, " b"], largest: float) -> Float[Tensor, " b"]:
        """Return the weight that turns the prediction's squared error into the velocity's, see `losses.velocity_weight`; 1 for flow."""
        if self.prediction_type == "flow":
            return torch.ones_like(levels)
        return losses.velocity_weight(self._alphas_cumprod(levels), self.prediction_type, largest)

    def sample(
        self,
        predict: Callable[[Float[Tensor, "b c g2 g3"], Shaped[Tensor, " b"]], Float[Tensor, "b c g2 g3"]],
        noise: Float[Tensor, "b c g2 g3"],
        num_inference_steps: int,
    ) -> Float[Tensor, "b c g2 g3"]:
        """Go from noise to latents.

        Args:
            predict: from noisy latents and timesteps, the decoder's prediction.
            noise: where to start, of unit variance.
            num_inference_steps: calls of `predict`.

        Raises:
            ValueError: if that is less than one step, or more than there are.
        """
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps={num_inference_steps}: must be at least 1")
        scheduler = copy.deepcopy(self.scheduler)  # it counts steps: two samplings must not count together
        if self.prediction_type == "flow":
            # From 1 down to 1/n: left to itself the scheduler spends its last step on going from 0.001 to 0.
            scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / num_inference_steps, num_inference_steps).tolist())
        else:
            scheduler.set_timesteps(num_inference_steps)
        latents = noise
        for timestep in scheduler.timesteps:
            prediction = predict(latents, timestep.expand(noise.shape[0]).to(noise.device))
            latents = scheduler.step(prediction.to(latents.dtype), timestep, latents, return_dict=False)[0]
        return latents

    def _alphas_cumprod(self, levels: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return a^2."""
        return self.scheduler.alphas_cumprod.to(levels.device)[self.timesteps(levels)]

    def _amplitudes(self, levels: Float[Tensor, " b"]) -> tuple[Float[Tensor, "b 1 1 1"], Float[Tensor, "b 1 1 1"]]:
        """Return a and s of x = a x_0 + s e."""
        if self.prediction_type == "flow":
            a, s = 1 - levels, levels
        else:
            alphas = self._alphas_cumprod(levels)
            a, s = alphas**0.5, (1 - alphas) ** 0.5
        return a[:, None, None, None], s[:, None, None, None]
