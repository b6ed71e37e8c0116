"""Decoder: a U-Net, the space that it paints in and the noise that it removes; the small one is built here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gen.models.latent_space import AutoencoderSpace, PixelSpace
from gen.models.noise_process import NoiseProcess, PredictionType, Sampler, build_scheduler

if TYPE_CHECKING:
    from diffusers import UNet2DConditionModel


class Decoder(nn.Module):
    """Hold what paints: a diffusers U-Net, unchanged in kind, so that its folder is one that diffusers reads.

    Args:
        unet: a `UNet2DConditionModel`; its first input channels are the noisy latents.
        latent_space: where diffusion happens.
        noise: what is removed, and how.
        pretrained: whether the U-Net's weights are worth keeping when it is widened.

    Attributes:
        image_channels: input channels after the noisy latents that the U-Net came with: an InstructPix2Pix U-Net reads there the source
            picture's latents, unscaled.

    Raises:
        ValueError: if the U-Net denoises other latents than the space has.
    """

    image_channels: int

    def __init__(self, unet: Any, latent_space: PixelSpace | AutoencoderSpace, noise: NoiseProcess, pretrained: bool = False) -> None:
        super().__init__()
        if unet.config.out_channels != latent_space.channels:
            raise ValueError(
                f"model.decoder: the U-Net paints {unet.config.out_channels} channels, but the latents have {latent_space.channels}; "
                "U-Net and autoencoder must come from one model"
            )
        self.unet, self.latent_space, self.noise, self.pretrained = unet, latent_space, noise, pretrained
        self.image_channels = unet.config.in_channels - latent_space.channels

    def widen(self, extra_channels: int) -> None:
        """Give the U-Net more input channels, after those that it has.

        A pretrained U-Net paints at first as if they were not there: its weights stay and the new ones are zero. One that is to be trained
        from scratch gets a new layer as if it had been built with them. Either way the layer is trained, whatever else is frozen.

        Args:
            extra_channels: of layout map, source context and the like.
        """
        if extra_channels == 0:
            return
        old = self.unet.conv_in
        total = old.in_channels + extra_channels
        new = nn.Conv2d(total, old.out_channels, old.kernel_size, padding=old.padding, device=old.weight.device, dtype=old.weight.dtype)
        if self.pretrained:
            weight = torch.cat([old.weight.detach(), torch.zeros_like(new.weight[:, old.in_channels :])], 1)
            new.load_state_dict({"weight": weight, "bias": old.bias.detach()})
        self.unet.conv_in = new
        self.unet.register_to_config(in_channels=total)
        self.unet.always_trained = frozenset({"conv_in."})  # see gen.models.tuning


def small_unet(
    latent_channels: int = 48,
    block_out_channels: tuple[int, ...] = (96, 128),
    attention_levels: tuple[bool, ...] = (False, True),
    layers_per_block: int = 1,
    num_heads: int = 4,
    cross_attention_dim: int = 128,
    modulation: bool = False,
) -> UNet2DConditionModel:
    """Build a U-Net to be trained from scratch.

    Args:
        latent_channels: that are denoised.
        block_out_channels: width of each resolution, finest first; multiples of 16.
        attention_levels: which resolutions attend to themselves and to the conditioning.
        layers_per_block: residual blocks a resolution.
        num_heads: of every attention.
        cross_attention_dim: width of the tokens that it attends to.
        modulation: let the time embedding scale and shift the group norms, instead of being added to the features.

    Raises:
        ValueError: if the levels differ in number.
    """
    from diffusers import UNet2DConditionModel

    if len(attention_levels) != len(block_out_channels):
        raise ValueError(f"model.decoder.attention_levels={attention_levels} and block_out_channels={block_out_channels} differ in length")
    return UNet2DConditionModel(
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attention_levels),
        up_block_types=tuple("CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attention_levels)),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=num_heads,  # diffusers' name for the number of heads
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift" if modulation else "default",
    )


def small_decoder(
    *,
    patch_size: int = 4,
    autoencoder: str | None = None,
    block_out_channels: tuple[int, ...] = (96, 128),
    attention_levels: tuple[bool, ...] = (False, True),
    layers_per_block: int = 1,
    num_heads: int = 4,
    cross_attention_dim: int = 128,
    prediction_type: PredictionType = "sample",
    sampler: Sampler = "ddim",
    modulation: bool = False,
    gradient_checkpointing: bool = False,
) -> Decoder:
    """Build a decoder to be trained from scratch, with random weights from torch's global generator.

    Args:
        patch_size: pixels a side of a cell, in pixel space.
        autoencoder: folder or hub name of a diffusers `AutoencoderKL` or `AutoencoderTiny`, or of a model that has one in vae/: diffusion
            then happens in its latents; None is pixel space.
        block_out_channels: see `small_unet`, also for the four below.
        attention_levels: see there.
        layers_per_block: see there.
        num_heads: see there.
        cross_attention_dim: see there.
        prediction_type: what is predicted: the clean latents, the noise, v, or the flow's velocity.
        sampler: how pictures are painted: "ddim", "dpm_solver", or "euler_flow" for flow.
        modulation: see `small_unet`.
        gradient_checkpointing: compute features again in the backward pass instead of keeping them: less memory, more time.

    Raises:
        ValueError: if the sampler cannot sample what is predicted, or the autoencoder cannot be loaded.
    """
    scheduler = build_scheduler(prediction_type, sampler, clip_sample=autoencoder is None)
    space = PixelSpace(patch_size) if autoencoder is None else AutoencoderSpace.from_pretrained(autoencoder)
    unet = small_unet(space.channels, block_out_channels, attention_levels, layers_per_block, num_heads, cross_attention_dim, modulation)
    if gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    return Decoder(unet, space, NoiseProcess(scheduler))
