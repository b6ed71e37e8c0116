"""Refinement: optimise a picture's tokens against the diffusion loss, so that they hold detail that the encoder missed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gen.models.noise_process import shifted_levels
from gen.regions import RegionLatents, RegionPose

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline


@dataclass(frozen=True, kw_only=True)
class Refinement:
    """How tokens are optimised.

    Attributes:
        num_steps: of Adam.
        learning_rate: in units of the tokens, which are layer-normalised.
        num_new_regions: regions added to the picture, as large as it, for what belongs to no object.
        timestep_shift: above 1 more of the high noise levels are drawn, where the tokens decide what is painted; as in training.
        seed: of noise and noise levels.

    Raises:
        ValueError: naming the field that is out of range.

    Source: textual inversion, Gal et al. 2022, arXiv 2208.01618, with the tokens of an encoder as its start.
    """

    num_steps: int = 100
    learning_rate: float = 0.05
    num_new_regions: int = 0
    timestep_shift: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("num_steps", 1), ("num_new_regions", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"refinement.{name}={getattr(self, name)}; it must be at least {least}")
        for name in ("learning_rate", "timestep_shift"):
            if not getattr(self, name) > 0:
                raise ValueError(f"refinement.{name}={getattr(self, name)}; it must be above 0")


def refine(
    pipeline: RegionPipeline,
    pixel_values: Float[Tensor, "b 3 h w"],
    latents: RegionLatents,
    settings: Refinement = Refinement(),
    prompt: str | list[str] | None = None,
) -> RegionLatents:
    """Return latents whose tokens paint the picture more exactly; they are edited like any others.

    The pipeline's weights stay as they are. The decoder sees nothing of the picture but the latents, so that all detail goes into them.

    Args:
        pipeline: that made the latents.
        pixel_values: the pictures, in [-1, 1], at the pipeline's resolution.
        latents: of the pictures.
        settings: how long and how fast.
        prompt: as in `RegionPipeline.decode`.

    Returns:
        Latents with n + `num_new_regions` regions.

    Raises:
        ValueError: if new regions are asked of a pipeline that starts from a draft.
    """
    if settings.num_new_regions and pipeline.draft:
        raise ValueError(
            f"num_new_regions={settings.num_new_regions}: this pipeline lays regions out as sprites, and one as large as the picture would "
            "hide it; give 0"
        )
    device, generator = pipeline.device, torch.Generator().manual_seed(settings.seed)
    with torch.no_grad():
        clean = pipeline.latent_space.encode(pixel_values.to(device))
    start = _with_new_regions(latents.to(device), settings.num_new_regions)
    tokens = start.tokens.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([tokens], lr=settings.learning_rate)
    trained = [parameter for part in pipeline.modules() for parameter in part.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        with torch.enable_grad():
            for _ in tqdm(range(settings.num_steps), desc="refine", unit="step", leave=False):
                # The same draws for every picture, whatever it stands beside.
                level = shifted_levels(torch.rand((), generator=generator), settings.timestep_shift)
                levels = level.expand(len(clean)).to(device)
                noise = torch.randn(clean.shape[1:], generator=generator).expand_as(clean).to(device)
                conditioning = pipeline.condition(RegionLatents(tokens, start.pose, start.valid), prompt)
                noisy = pipeline.noise.add_noise(clean, noise, levels)
                prediction = pipeline.predict(noisy, pipeline.noise.timesteps(levels), conditioning)
                error = (prediction - pipeline.noise.goal(clean, noise, levels)).square().mean((1, 2, 3))
                optimizer.zero_grad()
                # A sum over pictures: each is optimised as if it were alone.
                (error * pipeline.noise.velocity_weight(levels, 5.0)).sum().backward()
                optimizer.step()
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
    return RegionLatents(tokens.detach(), start.pose, start.valid)


def _with_new_regions(latents: RegionLatents, count: int) -> RegionLatents:
    """Append regions as large as the picture, with the background's tokens, which fit there best."""
    if count == 0:
        return latents
    batch_size = latents.valid.shape[0]
    boxes = torch.tensor([0.0, 0.0, 1.0, 1.0], device=latents.tokens.device).expand(batch_size, count, 4)
    whole = RegionPose.from_boxes(boxes.contiguous())
    parts: dict[str, Any] = {}
    for field in fields(RegionPose):
        old, new = getattr(latents.pose, field.name), getattr(whole, field.name)
        if old is not None and new is None:  # depth and yaw, where the others' are known
            new = torch.full_like(old[:, :1], torch.nan).expand(-1, count, *old.shape[2:])
        parts[field.name] = None if old is None else torch.cat([old, new], 1)
    tokens = torch.cat([latents.tokens, latents.tokens[:, :1].expand(-1, count, -1, -1)], 1)
    valid = torch.cat([latents.valid, torch.ones_like(latents.valid[:, :1]).expand(-1, count)], 1)
    return RegionLatents(tokens, RegionPose(**parts), valid)
