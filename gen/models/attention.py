"""RegionAttention: the attention processor of the decoder, and what it is told of layers, gates and visible regions."""

from __future__ import annotations

import importlib.util
from collections import UserDict
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from gen.models.conditioner import Conditioning
from gen.models.layer_tokens import cross_attention_layers
from gen.models.region_visibility import grid_side

_MASKED = -10000.0  # diffusers' bias of an absent token
_PACKAGES = {
    "xformers": ("xformers", "pip install xformers"),
    "flash": ("flash_attn", "pip install flash-attn --no-build-isolation"),
}

Backend = Literal["sdpa", "xformers", "flash"]


@dataclass(frozen=True, eq=False)
class AttentionControl:
    """What the attention layers of one forward read besides their inputs.

    Attributes:
        conditioning: what the decoder is told.
        dtype: of the decoder's activations.
        record: whether cross-attention's probabilities are kept.
        recorded: those, by layer, averaged over heads.
    """

    conditioning: Conditioning
    dtype: torch.dtype
    record: bool = False
    recorded: UserDict[int, Float[Tensor, "b p l"]] = field(default_factory=UserDict)  # FSDP gives its blocks copies of what is a dict
    _biases: dict[tuple, Tensor] = field(default_factory=dict)

    def states(self, layer: int) -> Float[Tensor, "b l d"]:
        """Return the sequence that a cross-attention layer reads."""
        layers = self.conditioning.layers
        states = self.conditioning.encoder_hidden_states if layers is None else layers[layer].hidden_states
        return states.to(self.dtype)

    def cross_bias(self, layer: int, cells: int) -> Float[Tensor, "b 1 p l"]:
        """Return what is added to a cross-attention layer's scores; p is 1 where all cells see the same."""
        visible, layers = self.conditioning.visible, self.conditioning.layers
        visible = visible if visible is not None and visible.cross_attention else None
        key = ("cross", None if layers is None else layer, 1 if visible is None else cells)
        if key not in self._biases:
            mask = self.conditioning.attention_mask if layers is None else layers[layer].attention_mask
            mask = mask[:, None]
            if visible is not None:
                seen = visible.of_regions(grid_side(cells))
                if layers is not None:
                    seen = seen | layers[layer].dropped[:, None, None]
                mask = mask & self._over_sequence(seen)
            self._biases[key] = self._bias(mask)
        return self._biases[key]

    def self_bias(self, cells: int) -> Float[Tensor, "b 1 p p"] | None:
        """Return what is added to a self-attention layer's scores, or None."""
        visible = self.conditioning.visible
        if visible is None or not visible.self_attention:
            return None
        key = ("self", cells)
        if key not in self._biases:
            self._biases[key] = self._bias(visible.of_cells(grid_side(cells)))
        return self._biases[key]

    def _over_sequence(self, seen: Bool[Tensor, "b p n"]) -> Bool[Tensor, "b p l"]:
        """Repeat for every token of a region; what belongs to no region is seen from everywhere."""
        regions = self.conditioning.num_region_tokens
        seen = seen.repeat_interleave(regions // seen.shape[2], 2)
        return F.pad(seen, (self.conditioning.attention_mask.shape[1] - regions, 0), value=True)

    def _bias(self, mask: Bool[Tensor, "b p l"]) -> Float[Tensor, "b 1 p l"]:
        return ((1 - mask.to(self.dtype)) * _MASKED)[:, None]


class RegionAttention:
    """Attention with the options of `AttentionControl`; without one it is plain scaled-dot-product attention.

    While a CPU trains under bf16 autocast, queries, keys and values are fp32: the CPU's bf16 attention backward is several times slower
    than fp32's, everything else gains from bf16.

    Args:
        layer: number of a cross-attention layer in the order of execution; None for self-attention.
        backend: see `attach_attention`.
    """

    def __init__(self, layer: int | None, backend: Backend = "sdpa") -> None:
        self.layer, self.backend = layer, backend

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        control: AttentionControl | None = None,
    ) -> Tensor:
        """Attend; the signature is diffusers' attention processor with `control` from its cross_attention_kwargs."""
        query = _heads(attn, attn.to_q(hidden_states))
        if control is None:
            states = hidden_states if encoder_hidden_states is None else encoder_hidden_states
            attended = self._attend(query, *_keys_values(attn, states), _given_bias(attn, attention_mask, states))
        elif self.layer is None:
            attended = self._attend(query, *_keys_values(attn, hidden_states), control.self_bias(hidden_states.shape[1]))
        else:
            attended = self._cross(self.layer, attn, query, control)
        return attn.to_out[1](attn.to_out[0](attended.transpose(1, 2).flatten(2)))

    def _cross(self, layer: int, attn: Any, query: Float[Tensor, "b a p e"], control: AttentionControl) -> Float[Tensor, "b a p e"]:
        keys, values = _keys_values(attn, control.states(layer))
        bias = control.cross_bias(layer, query.shape[2])
        gates = control.conditioning.gates
        if gates is None:
            if not control.record:
                return self._attend(query, keys, values, bias)
            attended, probabilities = _attend_recorded(query, keys, values, bias)
        else:
            first = keys.shape[2] - control.conditioning.num_region_tokens
            text = self._attend(query, keys[:, :, :first], values[:, :, :first], bias[..., :first])
            regions = query, keys[:, :, first:], values[:, :, first:], bias[..., first:]
            gate = gates[layer].to(query.dtype)
            if not control.record:
                return text + gate * self._attend(*regions)
            attended, probabilities = _attend_recorded(*regions)
            attended, probabilities = text + gate * attended, F.pad(probabilities, (first, 0))
        control.recorded.setdefault(layer, probabilities)  # gradient checkpointing comes here twice; the first is the loss's
        return attended

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        if self.backend == "xformers" or (self.backend == "flash" and bias is None):
            from diffusers.models.attention_dispatch import dispatch_attention_fn

            if bias is not None:  # xformers wants rows of a multiple of 8 in memory
                bias = F.pad(bias.to(query.dtype), (0, -bias.shape[-1] % 8))[..., : bias.shape[-1]]
            inputs = (x.transpose(1, 2) for x in (query, key, value))
            return dispatch_attention_fn(*inputs, attn_mask=bias, backend=self.backend).transpose(1, 2)
        if query.device.type == "cpu" and query.dtype == torch.bfloat16 and torch.is_grad_enabled():
            with torch.autocast("cpu", enabled=False):
                bias = None if bias is None else bias.float()
                return F.scaled_dot_product_attention(query.float(), key.float(), value.float(), bias).to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, None if bias is None else bias.to(query.dtype))


def attach_attention(unet: Any, backend: Backend = "sdpa") -> None:
    """Make `RegionAttention` the attention of a U-Net or ControlNet; its weights and files stay as they are.

    Args:
        unet: a diffusers U-Net with cross-attention, or a ControlNet made from one.
        backend: "sdpa" is PyTorch's own; "xformers" and "flash" need their packages and a GPU. Flash attention knows no masks, so with
            it only attention without a mask is its matter, and the rest SDPA's.

    Raises:
        ValueError: if a package is missing, or the U-Net has attention of another kind.
    """
    if backend in _PACKAGES:
        package, command = _PACKAGES[backend]
        if importlib.util.find_spec(package) is None:
            raise ValueError(f"model.attention={backend}: the package {package} is not installed; run `{command}`, or use sdpa")
    layers = {name: number for number, name in enumerate(cross_attention_layers(unet))}
    processors = {}
    for name in unet.attn_processors:
        module = name.removesuffix(".processor")
        attn = unet.get_submodule(module)
        odd = [part for part in ("group_norm", "spatial_norm", "norm_cross", "norm_q", "norm_k", "add_k_proj") if getattr(attn, part, None)]
        if odd or attn.residual_connection:
            raise ValueError(
                f"the decoder's {module} is attention with {', '.join(odd) or 'a residual connection'}, which is not supported"
            )
        processors[name] = RegionAttention(layers.get(module), backend)
    unet.set_attn_processor(processors)


def has_region_attention(unet: Any) -> bool:
    """Return whether `attach_attention` was applied; diffusers' own processors would ignore what they are told."""
    return all(isinstance(processor, RegionAttention) for processor in unet.attn_processors.values())


def _heads(attn: Any, projected: Float[Tensor, "b p c"]) -> Float[Tensor, "b a p e"]:
    return projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


def _keys_values(attn: Any, states: Tensor) -> tuple[Tensor, Tensor]:
    return _heads(attn, attn.to_k(states)), _heads(attn, attn.to_v(states))


def _given_bias(attn: Any, attention_mask: Tensor | None, states: Tensor) -> Tensor | None:
    """Return diffusers' own attention mask as a bias of every head's scores."""
    if attention_mask is None:
        return None
    bias = attn.prepare_attention_mask(attention_mask, states.shape[1], states.shape[0])
    return bias.view(states.shape[0], attn.heads, -1, bias.shape[-1])


def _attend_recorded(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> tuple[Float[Tensor, "b a p e"], Float[Tensor, "b p l"]]:
    """Attend step by step, in fp32, so that the probabilities are seen."""
    with torch.autocast(query.device.type, enabled=False):
        scores = query.float() @ key.float().mT / query.shape[-1] ** 0.5 + bias.float()
        probabilities = scores.softmax(-1)
        attended = probabilities @ value.float()
    return attended.to(query.dtype), probabilities.mean(1)
