"""The decoder: a diffusers U-Net that reads noisy latents, a layout map and a source context."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gen.models.conditioner import Conditioning
from gen.models.source_context import SourceContext

if TYPE_CHECKING:
    from diffusers import DDIMScheduler, UNet2DConditionModel


def small_unet(
    sample_size: int = 16,
    latent_channels: int = 48,
    extra_channels: int = 128,
    block_out_channels: tuple[int, ...] = (96, 128),
    layers_per_block: int = 1,
    attention_levels: tuple[bool, ...] = (False, True),
    cross_attention_dim: int = 128,
    num_heads: int = 4,
) -> UNet2DConditionModel:
    """Build a U-Net to be trained from scratch.

    Args:
        sample_size: side of the latents.
        latent_channels: that are denoised.
        extra_channels: of layout map and source context, concatenated to the latents.
        block_out_channels: width of each resolution, finest first; multiples of 16.
        layers_per_block: residual blocks a resolution.
        attention_levels: which resolutions attend to themselves and to the conditioning.
        cross_attention_dim: d, width of the conditioning's tokens.
        num_heads: of every attention.
    """
    from diffusers import UNet2DConditionModel

    if len(attention_levels) != len(block_out_channels):
        raise ValueError(f"attention_levels={attention_levels} and block_out_channels={block_out_channels} differ in length")
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels + extra_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        down_block_types=tuple("CrossAttnDownBlock2D" if level else "DownBlock2D" for level in attention_levels),
        up_block_types=tuple("CrossAttnUpBlock2D" if level else "UpBlock2D" for level in reversed(attention_levels)),
        cross_attention_dim=cross_attention_dim,
        attention_head_dim=num_heads,  # diffusers' name for the number of heads
        norm_num_groups=16,
    )


def ddim_scheduler(prediction_type: str = "sample", clip_sample: bool = True, beta_schedule: str = "squaredcos_cap_v2") -> DDIMScheduler:
    """Build the noise schedule: zero terminal signal, so that sampling starts where training ended.

    Args:
        prediction_type: "sample" (the clean latents), "epsilon" or "v_prediction".
        clip_sample: keep predicted clean samples in [-1, 1], which holds for pixels and not for an autoencoder's latents.
        beta_schedule: a name that diffusers knows.

    Source: Lin et al. 2023, arXiv 2305.08891.
    """
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule=beta_schedule,
        prediction_type=prediction_type,
        rescale_betas_zero_snr=prediction_type != "epsilon",
        timestep_spacing="trailing",
        clip_sample=clip_sample,
    )


def denoise(
    unet: UNet2DConditionModel,
    noisy_latents: Float[Tensor, "b c g g"],
    timesteps: Int[Tensor, " b"],
    conditioning: Conditioning,
    context: SourceContext | None,
) -> Float[Tensor, "b c g g"]:
    """Return the U-Net's prediction from noisy latents and everything it is told.

    Raises:
        ValueError: if the channels put together are not what the U-Net was built for.
    """
    parts = [noisy_latents]
    if conditioning.layout_map is not None:
        parts.append(conditioning.layout_map.to(noisy_latents.dtype))
    if context is not None:
        parts.append(context.channels(noisy_latents.shape[-1]))
    sample = torch.cat(parts, 1)
    if sample.shape[1] != unet.config.in_channels:
        widths = " + ".join(str(part.shape[1]) for part in parts)
        raise ValueError(
            f"the decoder's input has {widths} = {sample.shape[1]} channels, but the U-Net was built for {unet.config.in_channels}"
        )
    output = unet(
        sample,
        timesteps,
        encoder_hidden_states=conditioning.encoder_hidden_states.to(noisy_latents.dtype),
        encoder_attention_mask=conditioning.attention_mask,
        return_dict=False,
    )
    return output[0]


class CpuTrainingAttention:
    """Attention whose queries, keys and values are fp32 while a CPU trains under bf16 autocast; elsewhere it is plain SDPA.

    The CPU's bf16 attention backward is several times slower than fp32's, everything else gains from bf16.
    """

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None) -> Tensor:
        """Attend; the signature is diffusers' attention processor."""
        keys = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, keys.shape[1], hidden_states.shape[0])
            attention_mask = attention_mask.view(hidden_states.shape[0], attn.heads, -1, attention_mask.shape[-1])
        projected = attn.to_q(hidden_states), attn.to_k(keys), attn.to_v(keys)
        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in projected)
        dtype = query.dtype
        if query.device.type == "cpu" and dtype == torch.bfloat16 and torch.is_grad_enabled():
            query, key, value = query.float(), key.float(), value.float()
            with torch.autocast("cpu", enabled=False):
                attended = F.scaled_dot_product_attention(query, key, value, None if attention_mask is None else attention_mask.float())
        else:
            mask = None if attention_mask is None else attention_mask.to(dtype)
            attended = F.scaled_dot_product_attention(query, key, value, mask)
        return attn.to_out[1](attn.to_out[0](attended.to(dtype).transpose(1, 2).flatten(2)))
