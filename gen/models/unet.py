"""One step of the decoder: a vanilla diffusers U-Net reads noisy latents and everything that it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from gen.models.attention import AttentionControl, has_region_attention
from gen.models.conditioner import Conditioning
from gen.models.modulation import modulated
from gen.models.source_context import SourceContext, fold

if TYPE_CHECKING:
    from diffusers import ControlNetModel, UNet2DConditionModel


def denoise(
    unet: UNet2DConditionModel,
    noisy_latents: Float[Tensor, "b c g g"],
    timesteps: Shaped[Tensor, " b"],
    conditioning: Conditioning,
    context: SourceContext | None = None,
    coordinates: Float[Tensor, "b 2 h w"] | None = None,
    control: Float[Tensor, "b 3 h w"] | None = None,
    controlnet: ControlNetModel | None = None,
    control_present: Bool[Tensor, " b"] | None = None,
    attention_maps: list[Tensor] | None = None,
    draft: bool = False,
) -> Float[Tensor, "b c g g"]:
    """Return the U-Net's prediction from noisy latents and everything it is told.

    Args:
        unet: a vanilla U-Net to which `attach_attention` was applied.
        noisy_latents: at the noise level of `timesteps`.
        timesteps: as the noise process counts them.
        conditioning: from the conditioner.
        context: surroundings that the decoder sees, for a U-Net that was built with their channels.
        coordinates: (x, y) in [-1, 1] of every pixel of the target view, for a U-Net that was built with two channels more.
        control: conditioning picture in [-1, 1], for `controlnet`.
        controlnet: a branch made by `control_branch`; without it the U-Net is on its own.
        control_present: samples to which the ControlNet's part is added; None: all of them.
        attention_maps: a list to which the probabilities of every cross-attention layer [b p l], averaged over heads, are added in the
            order of execution; p cells row by row, l tokens.
        draft: let the U-Net see a draft and tell the difference from it, see `_draft`; for clean-sample prediction of folded pixels.

    Raises:
        ValueError: if the channels put together are not what the U-Net was built for, or only one of picture and ControlNet is given.
    """
    dtype, grid = noisy_latents.dtype, noisy_latents.shape[-1]
    drafted = _draft(grid, conditioning, context).to(dtype) if draft else None
    given = (
        conditioning.layout_map,
        drafted,
        None if context is None else context.channels(grid),
        None if coordinates is None else F.avg_pool2d(coordinates, coordinates.shape[-1] // grid),
    )
    parts = [noisy_latents, *(part.to(dtype) for part in given if part is not None)]
    sample = torch.cat(parts, 1)
    if sample.shape[1] != unet.config.in_channels:
        widths = " + ".join(str(part.shape[1]) for part in parts)
        raise ValueError(
            f"the decoder's input has {widths} = {sample.shape[1]} channels, but the U-Net was built for {unet.config.in_channels}"
        )
    assert has_region_attention(unet), "attach_attention(unet) comes first"
    attention = AttentionControl(conditioning, dtype, record=attention_maps is not None)
    states = conditioning.encoder_hidden_states.to(dtype)
    residuals = _control_residuals(controlnet, control, sample, timesteps, states, replace(attention, record=False))
    if control_present is not None:
        shares = control_present.to(dtype)[:, None, None, None]
        residuals = {
            name: [part * shares for part in value] if name.startswith("down") else value * shares for name, value in residuals.items()
        }
    with modulated(unet, conditioning.modulation):
        output = unet(
            sample,
            timesteps,
            encoder_hidden_states=states,
            encoder_attention_mask=conditioning.attention_mask,
            cross_attention_kwargs={"control": attention},
            return_dict=False,
            **residuals,
        )
    if attention_maps is not None:
        attention_maps.extend(attention.recorded[layer] for layer in sorted(attention.recorded))
    return output[0] if drafted is None else output[0] + drafted


def draft_alone(conditioning: Conditioning) -> Float[Tensor, "b c g g"]:
    """Return the picture that the layout drafts, on its own background, folded as the decoder's."""
    objects, coverage, background = _layers(conditioning)
    return objects + (1 - coverage.repeat(1, 3, 1, 1)) * background


def _draft(grid: int, conditioning: Conditioning, context: SourceContext | None) -> Float[Tensor, "b c g g"]:
    """Return the pixels that are known before anything is painted, folded as the decoder's.

    Where the context is known, it is the draft; elsewhere the objects that the layout drafts, on the continuation of the context's floor,
    or on the background that the layout drafts where nothing at all is known.
    """
    if context is None:
        return draft_alone(conditioning)
    objects, coverage, background = _layers(conditioning)
    pixels, known = context.pixel_values.to(objects.dtype), context.known[:, None].to(objects.dtype)
    open_floor = 1 - F.pixel_shuffle(coverage.detach(), context.known.shape[-1] // grid)[:, 0]
    floor = torch.where(known.amax((1, 2, 3), keepdim=True) > 0, fold(context.continued(open_floor).to(objects.dtype), grid), background)
    drafted = objects + (1 - coverage.repeat(1, 3, 1, 1)) * floor
    return torch.lerp(drafted, fold(pixels, grid), fold(known, grid).repeat(1, 3, 1, 1))


def _layers(conditioning: Conditioning) -> tuple[Tensor, ...]:
    assert conditioning.layout_map is not None and conditioning.draft_channels, "a draft is made by a layout"
    return conditioning.layout_map.split(conditioning.draft_channels, 1)


def _control_residuals(
    controlnet: ControlNetModel | None,
    control: Float[Tensor, "b 3 h w"] | None,
    sample: Float[Tensor, "b c g g"],
    timesteps: Shaped[Tensor, " b"],
    states: Float[Tensor, "b l d"],
    attention: AttentionControl,
) -> dict[str, Any]:
    """Return what a ControlNet adds to the U-Net, as the U-Net's arguments."""
    if (controlnet is None) != (control is None):
        missing = "ControlNet" if controlnet is None else "conditioning picture"
        raise ValueError(f"control and controlnet go together, but there is no {missing}")
    if controlnet is None or control is None:
        return {}
    assert has_region_attention(controlnet), "attach_attention(controlnet) comes first"
    down, middle = controlnet(
        sample,
        timesteps,
        encoder_hidden_states=states,
        controlnet_cond=control.to(sample.dtype),
        cross_attention_kwargs={"control": attention},
        return_dict=False,
    )
    return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
