"""ControlBranch: a diffusers ControlNet beside the decoder, which reads a conditioning picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gen.models.attention import Backend, attach_attention

if TYPE_CHECKING:
    from diffusers import ControlNetModel

_CHANNELS = (16, 32, 96, 256)


def control_branch(unet: Any, downscale: int, attention: Backend = "sdpa") -> ControlNetModel:
    """Build a ControlNet: a copy of the U-Net's way down, whose zero-initialised outputs are added to the U-Net's.

    At first nothing changes. It reads all input channels of the U-Net, so it is made after the U-Net was widened.

    Args:
        unet: the decoder's, to be copied.
        downscale: pixels a side of a cell of the decoder's grid; the conditioning picture is reduced by as much, by halves.
        attention: see `attach_attention`, which one that is loaded from its folder needs as well.

    Raises:
        ValueError: if the downscale is no power of two.

    Source: Zhang et al. 2023, arXiv 2302.05543.
    """
    from diffusers import ControlNetModel

    if downscale < 1 or downscale & (downscale - 1):
        raise ValueError(
            f"a ControlNet reduces its picture by halves, but the decoder's cells are {downscale} pixels wide; use a power of two"
        )
    halvings = downscale.bit_length() - 1
    channels = tuple(_CHANNELS[min(i, len(_CHANNELS) - 1)] for i in range(halvings + 1))
    branch = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels, conditioning_channels=3)
    attach_attention(branch, attention)
    if unet.is_gradient_checkpointing:
        branch.enable_gradient_checkpointing()
    return branch
