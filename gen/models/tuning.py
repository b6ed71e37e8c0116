"""Tuning: which weights of a network are trained, from which step to which, and adapters (LoRA) beside frozen weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from torch import nn

Parts = Literal["all", "cross_attention", "lora", "last_blocks", "none"]
Module = TypeVar("Module", bound=nn.Module)

# What diffusers, transformers and timm call the linear layers of an attention.
_PROJECTION = re.compile(r"(^|\.)(to_[qkv]|to_out\.0|[qkvo]_proj|out_proj|query|key|value|qkv|attn\.proj|attention\.output\.dense)$")


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a network is trained.

    Parameters that are new in a network that was trained elsewhere are among the trained ones whatever `parts` says: those whose names
    begin with one of the prefixes in their module's attribute `always_trained`, such as the widened input of a decoder. Steps and learning
    rate hold for them too.

    Attributes:
        parts: what is trained: everything; a U-Net's cross-attention; low-rank adapters of the attention's projections; the last blocks; or
            nothing.
        lora_rank: of the adapters.
        num_blocks: how many blocks count as the last ones.
        learning_rate_scale: times the learning rate of the run.
        first_step: global step from which it is trained; until then it stands still.
        last_step: global step from which it stands still again; None for never.

    Raises:
        ValueError: if a value is out of range.

    Source: Hu et al. 2021, arXiv 2106.09685 (LoRA).
    """

    parts: Parts = "all"
    lora_rank: int = 8
    num_blocks: int = 1
    learning_rate_scale: float = 1.0
    first_step: int = 0
    last_step: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.parts not in get_args(Parts):
            raise ValueError(f"model.*_tuning.parts={self.parts}: unknown; give one of {', '.join(get_args(Parts))}")
        for name, least in (("lora_rank", 1), ("num_blocks", 1), ("first_step", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"model.*_tuning.{name}={getattr(self, name)}: must be at least {least}")
        if not self.learning_rate_scale > 0:
            raise ValueError(
                f"model.*_tuning.learning_rate_scale={self.learning_rate_scale}: must be above 0; to train nothing, give parts=none"
            )
        if self.last_step is not None and self.last_step <= self.first_step:
            raise ValueError(
                f"model.*_tuning.last_step={self.last_step}: must come after first_step={self.first_step}; to train nothing, parts=none"
            )


def apply_tuning(module: nn.Module, tuning: Tuning) -> None:
    """Freeze what shall not be trained, and add the adapters.

    Args:
        module: a diffusers U-Net, or a network with an attribute or method `blocks`, and attention by the names that libraries give it.
        tuning: says which part of it.

    Raises:
        ValueError: if the module has no such part.
    """
    module.requires_grad_(tuning.parts == "all")
    kind = type(module).__name__
    if tuning.parts == "cross_attention":
        found = [part for name, part in module.named_modules() if name.split(".")[-1] == "attn2"]  # as diffusers calls it
        if not found:
            raise ValueError(f"model.*_tuning.parts=cross_attention: a {kind} has none; give lora, last_blocks, all or none")
        for part in found:
            part.requires_grad_(True)
    elif tuning.parts == "last_blocks":
        blocks = _blocks(module)
        if tuning.num_blocks > len(blocks):
            raise ValueError(f"model.*_tuning.num_blocks={tuning.num_blocks}: a {kind} has {len(blocks)} blocks")
        for part in blocks[-tuning.num_blocks :]:
            part.requires_grad_(True)
    elif tuning.parts == "lora":
        _add_adapters(module, tuning.lora_rank)
    for parameter in _always_trained(module):
        parameter.requires_grad_(True)


def tuning_group(module: nn.Module, tuning: Tuning, learning_rate: float) -> dict[str, Any]:
    """Return the optimizer's group of what `apply_tuning` left trainable.

    Args:
        module: the tuned network.
        tuning: of it.
        learning_rate: of the run.

    Returns:
        `params`, `lr`, and `first_step` and `last_step`, between which the trainer moves them.
    """
    return {
        "params": [parameter for parameter in module.parameters() if parameter.requires_grad],
        "lr": learning_rate * tuning.learning_rate_scale,
        "first_step": tuning.first_step,
        "last_step": tuning.last_step,
    }


def merged_copy(module: Module) -> Module:
    """Return a copy whose adapters are merged into the weights that they adapt; the module itself if it has no adapters.

    The copy has the parameters of the network that the adapters were added to, and computes the same up to rounding.
    """
    if not any(".lora_A." in name for name, _ in module.named_parameters()):
        return module
    from peft.tuners.tuners_utils import BaseTunerLayer

    merged = copy.deepcopy(module)
    for name, layer in list(merged.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge()
            merged.set_submodule(name, layer.get_base_layer())
    for part in merged.modules():
        part.__dict__.pop("peft_config", None)  # peft's note that there are adapters
    return merged


def _add_adapters(module: nn.Module, rank: int) -> None:
    """Add an adapter to every projection of every attention; its product is zero at first.

    Raises:
        ValueError: if there is no attention.
    """
    from peft import LoraConfig, inject_adapter_in_model

    # No subclasses: torch's own multi-head attention reads its output's weights without calling the layer.
    targets = [name for name, layer in module.named_modules() if type(layer) is nn.Linear and _PROJECTION.search(name)]
    if not targets:
        raise ValueError(f"model.*_tuning.parts=lora: a {type(module).__name__} has no attention; give last_blocks, all or none")
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets), module)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def _blocks(module: Any) -> list[nn.Module]:
    """Return a network's blocks, first to last: a U-Net's are those on the way up.

    Raises:
        ValueError: if it has none.
    """
    blocks = getattr(module, "up_blocks", getattr(module, "blocks", None))
    if blocks is None:
        raise ValueError(f"model.*_tuning.parts=last_blocks: a {type(module).__name__} has no blocks; give lora, all or none")
    return list(blocks if isinstance(blocks, nn.ModuleList | nn.Sequential) else blocks())


def _always_trained(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that are new."""
    for owner in module.modules():
        prefixes = tuple(getattr(owner, "always_trained", ()))
        if prefixes:
            yield from (parameter for name, parameter in owner.named_parameters() if name.startswith(prefixes))
