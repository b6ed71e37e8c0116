"""Sharding: how processes share a training. With FSDP2 each holds a part of every tensor; what is written, read or seen is whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType, FullyShardedDataParallelPlugin, PartialState
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor

from gen.training.trainer import Trainer, TrainerError


def accelerator_for(trainer: Trainer, model: Any, folder: Path) -> Accelerator:
    """Build the accelerator of a training in `folder`; with one process there is nothing to distribute.

    Raises:
        TrainerError: if the launcher was told to distribute the training in another way, or the device cannot compute in fp16.
    """
    shards = trainer.distributed == "fsdp" and int(os.environ.get("WORLD_SIZE", "1")) > 1
    for name in {"FSDP", "DEEPSPEED", "MEGATRON_LM"} - {trainer.distributed.upper()}:
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise TrainerError(
                f"ACCELERATE_USE_{name}=true, but trainer.distributed={trainer.distributed}: start accelerate launch without --use_..., or"
                " with another --config_file; trainer.distributed=fsdp shards the model"
            )
    plugin = _sharding_plugin(model) if shards else None
    search = DistributedDataParallelKwargs(find_unused_parameters=not model.uses_all_parameters)
    accelerator = Accelerator(
        mixed_precision=trainer.mixed_precision, log_with=trainer.log_with, project_dir=folder, kwargs_handlers=[search], fsdp_plugin=plugin
    )
    if trainer.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainerError("trainer.mixed_precision=fp16 needs a GPU; on a CPU take bf16, which needs no scaling of gradients, or no")
    if shards and not accelerator.is_fsdp2:
        # Accelerate shards on accelerators only. On CPUs this is all that it leaves out, so what is tested there is what runs elsewhere.
        PartialState().distributed_type = accelerator.state.distributed_type = DistributedType.FSDP
        accelerator.state.fsdp_plugin = plugin
    return accelerator


def _sharding_plugin(model: nn.Module) -> FullyShardedDataParallelPlugin:
    """Say how Accelerate shards a model: each block that its library wants in one piece is a unit, and the rest is one more.

    The arithmetic is that of an unsharded model: weights are gathered and gradients reduced in fp32, and autocast alone decides on the
    forward's precision.
    """
    blocks = {name for part in model.modules() for name in getattr(part, "_no_split_modules", None) or ()}  # diffusers, transformers
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",  # Accelerate's name for units that are told by their class
        transformer_cls_names_to_wrap=sorted(blocks & {type(part).__name__ for part in model.modules()}),
        mixed_precision_policy=MixedPrecisionPolicy(),
        activation_checkpointing=False,  # the model's own matter; a launcher's settings would change the parameters' names
        cpu_ram_efficient_loading=False,
    )


def whole(tensor: Tensor) -> Tensor:
    """Gather a sharded tensor, which all processes must ask for; return any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Gather the sharded ones among tensors, one by one, into the main memory of the first process; the others get none of them."""
    result = {}
    for name, tensor in tensors.items():
        complete = whole(tensor)
        if complete is tensor:
            result[name] = tensor
        elif torch.distributed.get_rank() == 0:
            result[name] = complete.cpu()
    return result


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Return what this process holds of a whole tensor if it is sharded as `like` is; the tensor itself if `like` is not sharded."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)  # every process has read the whole


class UnusedParameters:
    """Give a sharded model's parameters the gradients that DDP finds: a mean over processes where any used them, and else none.

    Left alone, FSDP fails where one process uses a parameter and another does not. Told to expect that, it takes zeros for a parameter that
    no process used, and AdamW would move it. Looks at the root unit only: which blocks run is decided by the global step.
    """

    def __init__(self, accelerator: Accelerator, model: nn.Module) -> None:
        self._accelerator, self._model = accelerator, model
        self._names: list[str] = []
        self._used: set[str] = set()
        model.set_reduce_scatter_unused_params(True, recurse=False)  # type: ignore[operator]
        model.register_forward_hook(self._watch)

    def drop_gradients(self) -> None:
        """Take away the gradients of parameters that no process used since the last call."""
        used = torch.tensor([float(name in self._used) for name in self._names], device=self._accelerator.device)
        count = self._accelerator.reduce(used).tolist()
        for name, times in zip(self._names, count, strict=True):
            if not times:
                self._model.get_parameter(name).grad = None
        self._used.clear()

    def _watch(self, *_: object) -> None:
        """Once, between a forward and its backward, when the root unit's parameters are whole: note from now on who gets a gradient."""
        if self._names:
            return
        for name, parameter in self._model.named_parameters():
            if parameter.requires_grad and not isinstance(parameter, DTensor):
                self._names.append(name)
                parameter.register_post_accumulate_grad_hook(lambda _, name=name: self._used.add(name))
