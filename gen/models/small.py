"""Build the small model that is trained from scratch in pixel space: the model config's schema, without diffusers' import time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from gen.losses import LossWeights
from gen.models.erasing import ContextErasing

if TYPE_CHECKING:
    from gen.models.region_diffusion import RegionDiffusion


def small_region_diffusion(  # noqa: D417 (the docstring says where each argument is explained)
    *,
    resolution: int = 64,
    num_regions: int = 6,
    patch_size: int = 4,
    autoencoder: str | None = None,
    width: int = 128,
    num_queries: int = 2,
    encoder_depth: int = 2,
    backbone_depth: int = 1,
    num_registers: int = 4,
    layout_channels: int = 64,
    layout_oversampling: int = 1,
    vocabulary: list[str] | None = None,
    block_out_channels: tuple[int, ...] = (96, 128),
    attention_levels: tuple[bool, ...] = (False, True),
    layers_per_block: int = 1,
    num_heads: int = 4,
    prediction_type: Literal["sample", "epsilon", "v_prediction"] = "sample",
    context_erasing: ContextErasing | None = None,
    loss_weights: LossWeights | None = None,
    region_dropout: float = 0.1,
    conditioning_dropout: float = 0.1,
    text_dropout: float = 0.5,
    timestep_shift: float = 3.0,
    preview_steps: int = 4,
) -> RegionDiffusion:
    """Build the model with random weights from torch's global generator; what is not said here is said where it is used.

    Args:
        resolution: side of the pictures, in pixels.
        num_regions: n, background included.
        patch_size: pixels a side of the decoder's cells, in pixel space.
        autoencoder: folder of a diffusers `AutoencoderTiny` or `AutoencoderKL`: diffusion then happens in its latents; None is pixel space.
        width: d, of all tokens; see `RegionEncoder` and `Conditioner` for the arguments down to `vocabulary`.
        block_out_channels: see `small_unet`, also for the four below.
        context_erasing: None builds a decoder that sees no source context; for `loss_weights` None means the defaults.
        region_dropout: see `RegionDiffusion`, also for those below.

    Raises:
        ValueError: if the resolution does not divide into cells at every level.
    """
    from gen.models.conditioner import Conditioner
    from gen.models.latent_space import AutoencoderSpace, PixelSpace
    from gen.models.region_diffusion import RegionDiffusion
    from gen.models.region_encoder import RegionEncoder
    from gen.models.source_context import context_channels
    from gen.models.unet import ddim_scheduler, small_unet

    space = PixelSpace(patch_size) if autoencoder is None else AutoencoderSpace.from_folder(autoencoder)
    multiple = space.downscale * 2 ** (len(block_out_channels) - 1)
    if resolution % multiple:
        raise ValueError(f"resolution={resolution} is not a multiple of {multiple}: {space.downscale} pixels a cell x levels")
    grid = resolution // space.downscale
    extra = layout_channels + (context_channels(resolution, grid) if context_erasing else 0)
    return RegionDiffusion(
        region_encoder=RegionEncoder(num_queries, width, encoder_depth, num_heads, backbone_depth),
        conditioner=Conditioner(num_queries, width, grid, num_registers, layout_channels, layout_oversampling, vocabulary or []),
        unet=small_unet(grid, space.channels, extra, block_out_channels, layers_per_block, attention_levels, width, num_heads),
        scheduler=ddim_scheduler(prediction_type, clip_sample=autoencoder is None),
        latent_space=space,
        context_erasing=context_erasing,
        loss_weights=loss_weights or LossWeights(),
        region_dropout=region_dropout,
        conditioning_dropout=conditioning_dropout,
        text_dropout=text_dropout,
        timestep_shift=timestep_shift,
        num_regions=num_regions,
        preview_steps=preview_steps,
    )
