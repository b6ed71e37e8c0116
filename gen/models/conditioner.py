"""Conditioner: region latents and a caption -> everything the decoder is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn as nn
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen.models.component import Component
from gen.models.layer_tokens import LayerSequence, LayerTokens, RegionGate, num_cross_attention_layers
from gen.models.layout_map import LayoutMap
from gen.models.modulation import LayerModulation
from gen.models.pose_embedding import CameraToken, PoseConcat, PoseFiLM
from gen.models.pretrained_text_encoder import PretrainedTextEncoder
from gen.models.region_visibility import RegionVisibility, VisibleCells
from gen.models.sprite_layout import SpriteLayout
from gen.models.text_encoder import CaptionEncoder
from gen.regions import RegionLatents

_FITTED = ("layers", "gate", "modulation")


@dataclass(frozen=True)
class Conditioning:
    """What the decoder is told.

    Attributes:
        encoder_hidden_states: [register tokens][camera token][text tokens][background][regions].
        attention_mask: False where a token is absent.
        layout_map: input channels on the decoder's grid, or None.
        token_region: the region that each token belongs to; -1 for registers, camera and text.
        num_region_tokens: how many tokens at the end of the sequence are regions'.
        layers: the sequence of every cross-attention layer, where layers differ.
        gates: how far each cross-attention layer lets regions in, where they come in beside the text.
        visible: which cells may look where, where that is restricted.
        modulation: scales and shifts of the decoder's residual blocks, side by side.
        draft_channels: how many of the map's channels are the objects' colours, their coverage and the background's colours.
    """

    encoder_hidden_states: Float[Tensor, "b l d"]
    attention_mask: Bool[Tensor, "b l"]
    layout_map: Float[Tensor, "b c g g"] | None
    token_region: Int[Tensor, " l"]
    num_region_tokens: int
    layers: tuple[LayerSequence, ...] | None = None
    gates: Float[Tensor, " layers"] | None = None
    visible: VisibleCells | None = None
    modulation: Float[Tensor, "b m"] | None = None
    draft_channels: tuple[int, ...] = ()


class Conditioner(Component):
    """Put pose into tokens, tokens into a sequence, and tell the decoder of them in the ways that are switched on.

    What depends on the decoder's layers (`layers`, `gate`, `modulation`) is built by `fit_to`, which is called once the U-Net is there
    and before weights are loaded or trained.

    Args:
        num_queries: q, tokens per region.
        width: d, of the tokens.
        cross_attention_dim: width of the decoder's tokens, to which a linear layer takes ours; None: the same width, no layer.
        num_registers: learned tokens that belong to no region and take up what is common to all pictures.
        pose: how a region's pose enters its tokens; None: not at all.
        layout: paints the tokens into the regions' boxes as input channels of the decoder: a `LayoutMap` or a `SpriteLayout`; None: not.
        text: encoder of captions; None: captions are not read. Its tokens have our width or the decoder's.
        layers: projections of the region tokens for every cross-attention layer; None: all layers read the same.
        gate: lets region tokens in beside the text, through gates; None: regions and text share one attention.
        visibility: restricts attention to where regions are painted; None: not.
        modulation: scales and shifts the decoder's residual blocks by the picture's mean token; None: not.
        camera: a token of the camera's motion between source and target; None: not told.

    Raises:
        ValueError: if widths do not fit, or a gate leaves nothing to attend to.

    Source: classifier-free guidance, Ho and Salimans 2022, arXiv 2207.12598; registers, Darcet et al. 2023, arXiv 2309.16588.
    """

    def __init__(
        self,
        num_queries: int = 2,
        width: int = 128,
        cross_attention_dim: int | None = None,
        num_registers: int = 4,
        pose: PoseFiLM | PoseConcat | None = None,
        layout: LayoutMap | SpriteLayout | None = None,
        text: CaptionEncoder | PretrainedTextEncoder | None = None,
        layers: LayerTokens | None = None,
        gate: RegionGate | None = None,
        visibility: RegionVisibility | None = None,
        modulation: LayerModulation | None = None,
        camera: CameraToken | None = None,
    ) -> None:
        super().__init__()
        self.num_queries, self.width = num_queries, width
        self.decoder_width = cross_attention_dim or width
        self.pose = pose
        self.registers = nn.Parameter(torch.randn(num_registers, width) * 0.02)
        self.null = nn.Parameter(torch.randn(num_queries, width) * 0.02)
        self.project = nn.Identity() if self.decoder_width == width else nn.Linear(width, self.decoder_width)
        self.layout, self.text, self.layers, self.gate = layout, text, layers, gate
        self.visibility, self.modulation, self.camera = visibility, modulation, camera
        self.num_cross_attention_layers = 0
        self._check_widths()

    def _check_widths(self) -> None:
        for name in ("pose", "layout", "modulation", "camera"):
            part = getattr(self, name)
            if part is not None and part.width != self.width:
                raise ValueError(f"model.conditioner.{name}.width={part.width}, but the tokens have width={self.width}; make them equal")
        if self.layout is not None and self.layout.num_queries != self.num_queries:
            raise ValueError(f"model.conditioner.layout.num_queries={self.layout.num_queries} is not the conditioner's {self.num_queries}")
        if self.text is not None and self.text.width not in (self.width, self.decoder_width):
            raise ValueError(
                f"model.conditioner.text has tokens of width {self.text.width}; that must be width={self.width} or the decoder's"
                f" cross_attention_dim={self.decoder_width}"
            )
        if isinstance(self.text, PretrainedTextEncoder) and self.text.region_width not in (None, self.width):
            raise ValueError(f"model.conditioner.text.region_width={self.text.region_width} is not the tokens' width={self.width}")
        if self.gate is not None and not len(self.registers) and not isinstance(self.text, PretrainedTextEncoder):
            raise ValueError("model.conditioner.gate leaves nothing beside the regions to attend to; set num_registers=1 or more")

    @property
    def num_layers(self) -> int:
        """Layers that layer dropout may drop: the decoder's cross-attention layers, then its modulated residual blocks."""
        return self.num_cross_attention_layers + (len(self.modulation.channels or ()) if self.modulation is not None else 0)

    def fit_to(self, unet: Any) -> None:
        """Build what depends on the decoder's layers, and record it, so that a saved conditioner is built whole.

        Args:
            unet: a diffusers U-Net.

        Raises:
            ValueError: if the U-Net takes tokens of another width, or the conditioner was built for another U-Net.
        """
        width = unet.config.cross_attention_dim
        if width != self.decoder_width:
            raise ValueError(
                f"the conditioner's tokens have width {self.decoder_width}, but the U-Net's cross_attention_dim is {width}; set"
                f" model.conditioner.cross_attention_dim={width}"
            )
        self.num_cross_attention_layers = num_cross_attention_layers(unet)
        if self.layers is not None:
            self.layers.fit(unet, self.decoder_width)
        if self.gate is not None:
            self.gate.fit(self.num_cross_attention_layers)
        if self.modulation is not None:
            self.modulation.fit(unet)
        self.config |= {name: getattr(self, name).architecture() for name in _FITTED if getattr(self, name) is not None}

    def forward(
        self,
        latents: RegionLatents,
        grid: int,
        captions: list[str] | tuple[str, ...] | None = None,
        dropped: Bool[Tensor, " b"] | None = None,
        text_dropped: Bool[Tensor, " b"] | None = None,
        camera: Float[Tensor, "b 12"] | None = None,
        layer_dropped: Bool[Tensor, "b layers"] | None = None,
    ) -> Conditioning:
        """Build the conditioning.

        Args:
            latents: with the pose that is to be painted: the target's.
            grid: g, side of the decoder's grid.
            captions: "" for none; ignored without a text encoder. "[2]" stands for region 2, the k-th "[region]" for region k.
            dropped: samples whose regions are replaced by the learned null, for classifier-free guidance.
            text_dropped: samples whose caption is left out.
            camera: the target's camera relative to the source's, NaN where unknown; ignored without a camera token.
            layer_dropped: layers (see `num_layers`) in which a sample's regions are replaced by the learned null; None: none.

        Raises:
            ValueError: if a caption names a region that does not exist.
        """
        if dropped is None:
            dropped = torch.zeros_like(latents.valid[:, 0])
        tokens = latents.tokens if self.pose is None else self.pose(latents.tokens, latents.pose)
        tokens = torch.where(dropped[:, None, None, None], self.null.to(tokens.dtype), tokens)
        present = latents.valid | dropped[:, None]
        shared, shared_present = self._shared(self._captions(len(dropped), captions, text_dropped), camera, tokens, present, dropped)
        regions = self.project(tokens.flatten(1, 2))
        sequence = torch.cat([shared, regions], 1)
        mask = torch.cat([shared_present, present.repeat_interleave(self.num_queries, 1)], 1)
        owners = torch.arange(present.shape[1], device=mask.device).repeat_interleave(self.num_queries)
        layout_map = None
        if self.layout is not None:
            layout_map = self.layout(replace(latents, valid=latents.valid & ~dropped[:, None]), grid)
        return Conditioning(
            encoder_hidden_states=sequence,
            attention_mask=mask,
            layout_map=layout_map,
            draft_channels=() if self.layout is None else self.layout.draft_channels,
            token_region=torch.cat([owners.new_full((shared.shape[1],), -1), owners]),
            num_region_tokens=regions.shape[1],
            layers=self._layers(sequence, mask, regions.shape[1], layer_dropped),
            gates=None if self.gate is None else self.gate(),
            visible=None if self.visibility is None else self.visibility(latents.pose, latents.valid, dropped),
            modulation=None if self.modulation is None else self._modulation(tokens, present, layer_dropped),
        )

    @staticmethod
    def _captions(batch_size: int, captions: list[str] | tuple[str, ...] | None, text_dropped: Bool[Tensor, " b"] | None) -> list[str]:
        """Return a caption for every sample, "" for none."""
        given = list(captions or [""] * batch_size)
        return given if text_dropped is None else ["" if gone else text for text, gone in zip(given, text_dropped.tolist(), strict=True)]

    def _shared(
        self,
        captions: list[str],
        camera: Float[Tensor, "b 12"] | None,
        tokens: Float[Tensor, "b n q d"],
        present: Bool[Tensor, "b n"],
        dropped: Bool[Tensor, " b"],
    ) -> tuple[Float[Tensor, "b s c"], Bool[Tensor, "b s"]]:
        """Return the tokens that belong to no region, in the decoder's width, and which are present: registers, camera, text."""
        batch_size = len(captions)
        parts = [self.project(self.registers).expand(batch_size, -1, -1)]
        masks = [torch.ones(batch_size, len(self.registers), dtype=torch.bool, device=dropped.device)]
        if self.camera is not None:
            token, known = self.camera(batch_size, camera)
            parts.append(self.project(token))
            masks.append((known & ~dropped)[:, None])
        if self.text is not None:
            absent = self.null.mean(0).to(tokens.dtype)
            regions = torch.where(present[..., None], tokens.mean(2), absent)
            # In training a caption may name an object that is out of the picture or dropped; to a user that is a mistake.
            words, words_present = self.text(captions, regions, torch.ones_like(present) if self.training else present)
            parts.append(words if words.shape[-1] == self.decoder_width else self.project(words))
            masks.append(words_present)
        return torch.cat(parts, 1), torch.cat(masks, 1)

    def _layers(
        self, sequence: Float[Tensor, "b l c"], mask: Bool[Tensor, "b l"], num_regions: int, layer_dropped: Bool[Tensor, "b layers"] | None
    ) -> tuple[LayerSequence, ...] | None:
        """Return every cross-attention layer's own sequence; None where all are the common one. `num_regions` counts tokens."""
        if self.layers is None and layer_dropped is None:
            return None
        assert self.num_cross_attention_layers, "fit_to() comes first"
        number, first = self.num_cross_attention_layers, sequence.shape[1] - num_regions
        groups = [0] * number if self.layers is None else list(self.layers.groups or ())

        def by_group(regions: Float[Tensor, "b r c"]) -> list[Float[Tensor, "b l c"]]:
            return [torch.cat([sequence[:, :first], own], 1) for own in ([regions] if self.layers is None else self.layers(regions))]

        told = by_group(sequence[:, first:])
        if layer_dropped is None:
            none = torch.zeros_like(mask[:, 0])
            return tuple(LayerSequence(told[group], mask, none) for group in groups)
        assert layer_dropped.shape[1] == self.num_layers
        null = self.project(self.null).repeat(num_regions // self.num_queries, 1).to(sequence.dtype)
        nothing = by_group(null.expand(len(sequence), -1, -1))
        everything = mask.clone()
        everything[:, first:] = True
        return tuple(
            LayerSequence(torch.where(gone[:, None, None], nothing[group], told[group]), torch.where(gone[:, None], everything, mask), gone)
            for group, gone in zip(groups, layer_dropped[:, :number].unbind(1), strict=True)
        )

    def _modulation(
        self, tokens: Float[Tensor, "b n q d"], present: Bool[Tensor, "b n"], layer_dropped: Bool[Tensor, "b layers"] | None
    ) -> Float[Tensor, "b m"]:
        """Return the scales and shifts that the picture's mean token gives."""
        assert self.modulation is not None and self.modulation.channels is not None, "fit_to() comes first"
        share = present.to(tokens.dtype)[..., None]
        mean = (tokens.mean(2) * share).sum(1) / share.sum(1).clamp_min(1)
        number = len(self.modulation.channels)
        if layer_dropped is None:
            return self.modulation([mean] * number)
        null = self.null.mean(0).to(tokens.dtype)
        return self.modulation([torch.where(gone[:, None], null, mean) for gone in layer_dropped[:, -number:].unbind(1)])
