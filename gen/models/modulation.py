"""LayerModulation: a picture's latent scales and shifts the features of the decoder's residual blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn as nn
from jaxtyping import Float
from torch import Tensor

from gen.models.component import Component

_ORDER = ("down_blocks", "mid_block", "up_blocks")


class LayerModulation(Component):
    """Project one latent of the whole picture to a scale and a shift for every residual block; zero-initialised.

    They are added to the scale and shift that the block gets from its noise level, so the U-Net has to be built with
    `resnet_time_scale_shift="scale_shift"`. The projections are built by `fit`, since the blocks are the decoder's matter.

    Args:
        width: d, of the latent.
        channels: numbers that each residual block takes, twice its channels; filled in by `fit`.

    Source: Hudson et al. 2023 (SODA), arXiv 2311.17901, section 3.2; there the two are applied one after the other, here their sum.
    """

    def __init__(self, width: int = 128, channels: list[int] | None = None) -> None:
        super().__init__()
        self.width = width
        self._build(None if channels is None else list(channels))

    def _build(self, channels: list[int] | None) -> None:
        self.channels = channels
        self.projections = nn.ModuleList()
        for number in channels or []:
            projection = nn.Linear(self.width, number)
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)
            self.projections.append(projection)

    def fit(self, unet: Any) -> None:
        """Build the projections for a U-Net; nothing happens where they fit already.

        Raises:
            ValueError: if the U-Net's blocks take no scale, or the projections were built for another U-Net.
        """
        kind, channels = unet.config.resnet_time_scale_shift, modulation_channels(unet)
        if kind != "scale_shift":
            raise ValueError(
                f"the U-Net has resnet_time_scale_shift={kind!r}, but model.conditioner.modulation needs 'scale_shift'; build it so, or"
                " leave modulation out"
            )
        if self.channels is None:
            self._build(channels)
            self.config["channels"] = channels
        elif self.channels != channels:
            raise ValueError(
                f"model.conditioner.modulation was built for blocks of {self.channels}, but the U-Net's take {channels}; build it anew"
            )

    def forward(self, latents: list[Float[Tensor, "b d"]]) -> Float[Tensor, "b m"]:
        """Return the scales and shifts of all blocks side by side, in the order of execution, from the latent that each block reads."""
        assert self.channels is not None, "fit() comes first"
        return torch.cat([project(latent) for project, latent in zip(self.projections, latents, strict=True)], -1)


def modulated_blocks(unet: Any) -> list[Any]:
    """Return a U-Net's residual blocks in the order of execution."""
    named = [(name, module) for name, module in unet.named_modules() if getattr(module, "time_emb_proj", None) is not None]
    return [module for _, module in sorted(named, key=lambda item: _ORDER.index(item[0].split(".")[0]))]


def modulation_channels(unet: Any) -> list[int]:
    """Return how many numbers each residual block takes from its noise level: scale and shift of every channel."""
    return [block.time_emb_proj.out_features for block in modulated_blocks(unet)]


@contextmanager
def modulated(unet: Any, modulation: Float[Tensor, "b m"] | None) -> Iterator[None]:
    """Let a U-Net's residual blocks be modulated while the context lasts.

    The numbers travel with the noise level's embedding and every block cuts off what is its own, so that a block that gradient
    checkpointing runs again, when the context is over, gets the same numbers.
    """
    if modulation is None:
        yield
        return
    _attach(unet)
    unet.time_embedding.modulation = modulation
    try:
        yield
    finally:
        unet.time_embedding.modulation = None


def _attach(unet: Any) -> None:
    """Add the hooks where they are missing; they do nothing outside `modulated` and leave no trace in the U-Net's files."""
    _hook(unet.time_embedding, _extend)
    begin = 0
    for block in modulated_blocks(unet):
        projection = block.time_emb_proj
        if not hasattr(block, "modulation_slice"):
            block.modulation_slice = (projection.in_features, begin, begin + projection.out_features)
            block.register_forward_pre_hook(_cut_off)
        _hook(projection, _add)
        begin += projection.out_features


def _hook(module: Any, hook: Any) -> None:
    if not hasattr(module, "modulation"):
        module.modulation = None
        module.register_forward_hook(hook)


def _extend(module: Any, inputs: Any, output: Tensor) -> Tensor:
    return output if module.modulation is None else torch.cat([output, module.modulation.to(output.dtype)], -1)


def _cut_off(block: Any, inputs: tuple) -> tuple:
    hidden, embedding, *rest = inputs
    width, begin, end = block.modulation_slice
    own = embedding.shape[-1] > width
    block.time_emb_proj.modulation = embedding[:, width + begin : width + end] if own else None
    return (hidden, embedding[:, :width] if own else embedding, *rest)


def _add(projection: Any, inputs: Any, output: Tensor) -> Tensor:
    own, projection.modulation = projection.modulation, None
    return output if own is None else output + own
