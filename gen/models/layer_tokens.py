"""LayerTokens: what each cross-attention layer of the decoder is told for itself, and which layers there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn as nn
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.component import Component

_ORDER = ("down_blocks", "mid_block", "up_blocks")
_PLACE = re.compile(r"(down_blocks|up_blocks)\.(\d+)\.attentions\.(\d+)\.(.*)")


@dataclass(frozen=True)
class LayerSequence:
    """The sequence that one cross-attention layer reads instead of the common one.

    Attributes:
        hidden_states: in the order of the common sequence.
        attention_mask: False where a token is absent.
        dropped: samples whose regions are the learned null in this layer.
    """

    hidden_states: Float[Tensor, "b l d"]
    attention_mask: Bool[Tensor, "b l"]
    dropped: Bool[Tensor, " b"]


class LayerTokens(Component):
    """Give every cross-attention layer, or every mirrored pair of them, a projection of the region tokens of its own.

    The projections start as the identity. They are built by `fit`, since how many layers there are is the decoder's matter.

    Args:
        sharing: "mirrored": a layer on the way down shares with the layer on the way up that reads its output; "each": none share.
        width: d, of the decoder's tokens; filled in by `fit`.
        groups: the projection that each layer uses, in the order of execution; filled in by `fit`.

    Source: a token per layer, P+ (Voynov et al. 2023, arXiv 2303.09522).
    """

    def __init__(
        self, sharing: Literal["mirrored", "each"] = "mirrored", width: int | None = None, groups: list[int] | None = None
    ) -> None:
        super().__init__()
        self.sharing = sharing
        self._build(width, None if groups is None else list(groups))

    def _build(self, width: int | None, groups: list[int] | None) -> None:
        self.width, self.groups = width, groups
        self.projections = nn.ModuleList()
        for _ in range(0 if groups is None else max(groups) + 1):
            assert width is not None, "groups are recorded together with the width"
            projection = nn.Linear(width, width)
            nn.init.eye_(projection.weight)
            nn.init.zeros_(projection.bias)
            self.projections.append(projection)

    def fit(self, unet: Any, width: int) -> None:
        """Build the projections for a U-Net; nothing happens where they fit already.

        Raises:
            ValueError: if they were built for another U-Net.
        """
        names = cross_attention_layers(unet)
        groups = mirrored_groups(unet) if self.sharing == "mirrored" else list(range(len(names)))
        if self.groups is None:
            self._build(width, groups)
            self.config |= {"width": width, "groups": groups}
        elif (self.width, self.groups) != (width, groups):
            raise ValueError(
                f"model.conditioner.layers was built for {len(self.groups)} layers of width {self.width}, but the U-Net has {len(names)} of"
                f" width {width}; use the U-Net that it was trained with, or build it anew"
            )

    def forward(self, regions: Float[Tensor, "b r d"]) -> list[Float[Tensor, "b r d"]]:
        """Return the region tokens as each group of layers reads them."""
        assert self.groups is not None, "fit() comes first"
        return [projection(regions) for projection in self.projections]


class RegionGate(Component):
    """Let region tokens in through a gate beside the text: text + tanh(gate) * regions, a gate a layer, closed at first.

    A decoder that was trained on text alone then starts as it was. The gates are built by `fit`.

    Args:
        num_layers: cross-attention layers of the decoder; filled in by `fit`.

    Source: Alayrac et al. 2022, arXiv 2204.14198, section 3.1.2; Li et al. 2023 (GLIGEN), arXiv 2301.07093, eq. 8.
    """

    def __init__(self, num_layers: int | None = None) -> None:
        super().__init__()
        self.num_layers = num_layers
        self.gates = nn.Parameter(torch.zeros(num_layers or 0))

    def fit(self, num_layers: int) -> None:
        """Build the gates; nothing happens where they fit already.

        Raises:
            ValueError: if they were built for another number of layers.
        """
        if self.num_layers is None:
            self.num_layers = num_layers
            self.gates = nn.Parameter(torch.zeros(num_layers))
            self.config["num_layers"] = num_layers
        elif self.num_layers != num_layers:
            raise ValueError(
                f"model.conditioner.gate was built for {self.num_layers} layers, but the U-Net has {num_layers}; build it anew"
            )

    def forward(self) -> Float[Tensor, " layers"]:
        """Return how far each layer's gate is open, in (-1, 1)."""
        return self.gates.tanh()


def cross_attention_layers(unet: Any) -> list[str]:
    """Return the names of a U-Net's (or a ControlNet's) cross-attention modules in the order of execution."""
    names = [name for name, module in unet.named_modules() if getattr(module, "is_cross_attention", False)]
    return sorted(names, key=lambda name: _ORDER.index(name.split(".")[0]))  # stable: inside a block the order is the registered one


def num_cross_attention_layers(unet: Any) -> int:
    """Return how many cross-attention layers a U-Net has."""
    return len(cross_attention_layers(unet))


def mirrored_groups(unet: Any) -> list[int]:
    """Return a number for every cross-attention layer: on the way up, that of the layer whose output it is joined with.

    The way up has a layer more at every resolution; it shares with the first of that resolution.
    """
    numbers: dict[tuple, int] = {}
    return [numbers.setdefault(_mirror(unet, name), len(numbers)) for name in cross_attention_layers(unet)]


def _mirror(unet: Any, name: str) -> tuple:
    match = _PLACE.fullmatch(name)
    if match is None:
        return (name,)
    way, block, layer, rest = match[1], int(match[2]), int(match[3]), match[4]
    if way == "down_blocks":
        return (block, layer, rest)
    block = len(unet.up_blocks) - 1 - block
    on_the_way_down = len(getattr(unet.down_blocks[block], "attentions", ()))
    return (block, max(on_the_way_down - 1 - layer, 0), rest)
