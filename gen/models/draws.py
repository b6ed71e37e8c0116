"""Draws: everything random about a training batch, as a function of its samples' seeds alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.erasing import drop_regions
from gen.models.noise_process import shifted_levels

if TYPE_CHECKING:
    from gen.data.batch import RegionBatch
    from gen.models.region_diffusion import RegionDiffusion


@dataclass(frozen=True)
class Draws:
    """Everything random about a batch; a function of its seeds alone."""

    noise: Float[Tensor, "b c g2 g3"]
    levels: Float[Tensor, " b"]
    region_dropped: Bool[Tensor, "b n"]
    similarity_dropped: Bool[Tensor, "b n"]
    conditioning_dropped: Bool[Tensor, " b"]
    text_dropped: Bool[Tensor, " b"]
    known: Bool[Tensor, "b h w"]
    layer_dropped: Bool[Tensor, "b k"]
    control_dropped: Bool[Tensor, " b"]


def draw(model: RegionDiffusion, batch: RegionBatch) -> Draws:
    """Draw everything random, sample by sample, on the CPU: the same whatever the device, the rank and the batch."""
    device = batch.source.pixel_values.device
    height, width = batch.changed.shape[1:]
    space = model.decoder.latent_space
    shape = (space.channels, height // space.downscale, width // space.downscale)
    boxes, valid, changed = batch.target.pose.boxes().cpu(), batch.source.regions.valid.cpu(), batch.changed.cpu()
    rows = []
    for i, seed in enumerate(batch.seeds.tolist()):
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(3, generator=generator)
        dropped = drop_regions(valid[i], model.region_dropout, generator)
        others = drop_regions(valid[i], 0.5, generator)
        erasing = model.context_erasing
        known = torch.zeros(height, width, dtype=torch.bool) if erasing is None else erasing.known(boxes[i], dropped, changed[i], generator)
        level = shifted_levels(uniform[0], model.timestep_shift)
        noise = torch.randn(shape, generator=generator)
        layers = torch.rand(model.conditioner.num_layers, generator=generator) < model.layer_dropout
        conditioning, text = uniform[1] < model.conditioning_dropout, uniform[2] < model.text_dropout
        control = torch.rand((), generator=generator) < model.control_dropout
        rows.append((noise, level, dropped, others, conditioning, text, known, layers, control))
    return Draws(*(torch.stack(column).to(device) for column in zip(*rows, strict=True)))
