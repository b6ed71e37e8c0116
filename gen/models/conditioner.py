"""Conditioner: region latents and a caption -> everything the decoder is told."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn as nn
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.layout_map import LayoutMap
from gen.models.pose_embedding import PoseFiLM
from gen.models.text_encoder import CaptionEncoder
from gen.regions import RegionLatents


@dataclass(frozen=True)
class Conditioning:
    """What the decoder is told.

    Attributes:
        encoder_hidden_states: [register tokens][text tokens][background][regions].
        attention_mask: False where a token is absent.
        layout_map: input channels on the decoder's grid, or None.
    """

    encoder_hidden_states: Float[Tensor, "b l d"]
    attention_mask: Bool[Tensor, "b l"]
    layout_map: Float[Tensor, "b c g g"] | None


class Conditioner(ModelMixin, ConfigMixin):
    """Put pose into tokens, tokens into a sequence, and tokens into a layout map.

    Args:
        num_queries: q, tokens per region.
        width: d, of the tokens.
        grid: g, side of the decoder's grid.
        num_registers: learned tokens that belong to no region and take up what is common to all pictures.
        layout_channels: of the layout map; 0 builds none.
        layout_oversampling: see `LayoutMap`.
        vocabulary: words of the captions; an empty list builds no text encoder.
    """

    @register_to_config
    def __init__(
        self,
        num_queries: int = 2,
        width: int = 128,
        grid: int = 16,
        num_registers: int = 4,
        layout_channels: int = 64,
        layout_oversampling: int = 1,
        vocabulary: list[str] = [],  # noqa: B006 (recorded in config.json, never changed)
    ) -> None:
        super().__init__()
        self.pose = PoseFiLM(width)
        self.registers = nn.Parameter(torch.randn(num_registers, width) * 0.02)
        self.null = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.layout = LayoutMap(num_queries, width, layout_channels, layout_oversampling) if layout_channels else None
        self.text = CaptionEncoder(list(vocabulary), width) if vocabulary else None

    def forward(
        self,
        latents: RegionLatents,
        captions: list[str] | tuple[str, ...] | None = None,
        dropped: Bool[Tensor, " b"] | None = None,
        text_dropped: Bool[Tensor, " b"] | None = None,
    ) -> Conditioning:
        """Build the conditioning.

        Args:
            latents: with the pose that is to be painted: the target's.
            captions: "" for none; ignored without a text encoder.
            dropped: samples whose regions are replaced by the learned null, for classifier-free guidance.
            text_dropped: samples whose caption is left out.

        Source: classifier-free guidance, Ho and Salimans 2022, arXiv 2207.12598; registers, Darcet et al. 2023, arXiv 2309.16588.
        """
        batch_size = latents.valid.shape[0]
        device = latents.tokens.device
        dropped = torch.zeros(batch_size, dtype=torch.bool, device=device) if dropped is None else dropped
        tokens = self.pose(latents.tokens, latents.pose)
        tokens = torch.where(dropped[:, None, None, None], self.null.to(tokens.dtype), tokens)
        present = (latents.valid | dropped[:, None])[..., None].expand(-1, -1, tokens.shape[2])
        sequence = [self.registers.expand(batch_size, -1, -1), tokens.flatten(1, 2)]
        mask = [torch.ones(batch_size, len(self.registers), dtype=torch.bool, device=device), present.flatten(1)]
        if self.text is not None:
            words, words_present = self.text([""] * batch_size if captions is None else captions)
            if text_dropped is not None:
                words_present = words_present & ~text_dropped[:, None]
            sequence.insert(1, words)
            mask.insert(1, words_present)
        layout_map = None
        if self.layout is not None:
            layout_map = self.layout(replace(latents, valid=latents.valid & ~dropped[:, None]), self.config.grid)
        return Conditioning(torch.cat(sequence, 1), torch.cat(mask, 1), layout_map)
