"""TrainState: everything that must survive a restart, as safetensors and JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.training_utils import EMAModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from gen.artefact import ArtefactError
from gen.training.sharding import gathered, part_of

NUMBERS = ("seed", "global_step", "true_step", "position", "effective_batch", "micro_batch")


@dataclass
class TrainState:
    """Everything that must survive a restart.

    No random number generator is among it: before every forward torch's generator is seeded from `seed` and the position of the
    batch's samples, and the data follow from the same two numbers.

    Attributes:
        model: a Trainable module; all its parameters and buffers.
        optimizer: its state is stored by parameter name.
        schedule: of the learning rate, over global steps.
        ema: running average of the parameters that are trained.
        scaler: of the gradients, for fp16.
        seed: of the run.
        effective_batch: samples per global step, over all processes; the first start decides it, and whoever resumes keeps it.
        global_step: optimizer updates done.
        true_step: forwards done, each over all processes.
        position: samples taken from the data so far, over all processes.
        micro_batch: samples of one process and forward, where they were found by trying; None: as many as the dataset says.
        whole_model: of a sharded model, on the main process: an unsharded copy, for those who look at weights.
    """

    model: Any
    optimizer: Optimizer
    schedule: LambdaLR
    ema: EMAModel
    scaler: torch.amp.GradScaler | None
    seed: int
    effective_batch: int
    global_step: int = 0
    true_step: int = 0
    position: int = 0
    micro_batch: int | None = None
    whole_model: Any = None

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return what `save` writes, by file and name; all processes ask for it, and the main one gets it whole."""
        files = {"model": self._model_tensors(), "optimizer": self._optimizer_tensors(), "ema": self._averages()}
        return {name: gathered(tensors) for name, tensors in files.items()}

    def save(self, folder: Path, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Write the state into an empty folder.

        Args:
            folder: where the files go.
            tensors: of this moment.
        """
        numbers = {name: getattr(self, name) for name in NUMBERS} | {"ema_steps": self.ema.optimization_step}
        numbers |= {"schedule": self.schedule.state_dict(), "scaler": self.scaler.state_dict() if self.scaler else None}
        for name, values in tensors.items():
            save_file({key: value.contiguous() for key, value in values.items()}, folder / f"{name}.safetensors")
        (folder / "state.json").write_text(json.dumps(numbers, indent=1))

    def load(self, folder: Path) -> None:
        """Replace the state by one that `save` wrote for the same model and trainer."""
        numbers = json.loads((folder / "state.json").read_text())
        for name in NUMBERS:
            setattr(self, name, numbers.get(name, getattr(self, name)))  # the samples a step of an older run are this start's
        weights, own = load_file(folder / "model.safetensors"), self._model_tensors()
        if weights.keys() != own.keys():
            strange = sorted(weights.keys() ^ own.keys())[0]
            raise ArtefactError(f"{folder}: was written by another model: {strange} is not in both; choose another exp")
        for name, tensor in own.items():
            tensor.copy_(part_of(weights[name], tensor))
        self._load_optimizer(load_file(folder / "optimizer.safetensors"))
        averages = load_file(folder / "ema.safetensors")
        for (name, _), average in zip(self._trained(), self.ema.shadow_params, strict=True):
            average.copy_(part_of(averages[name], average))
        self.ema.optimization_step = numbers["ema_steps"]
        self.schedule.load_state_dict(numbers["schedule"])
        for group, rate in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if self.scaler:
            self.scaler.load_state_dict(numbers["scaler"])

    def num_bytes(self) -> int:
        """Return about how much room one checkpoint takes: the model, two moments and one average."""
        model = sum(tensor.numel() * tensor.element_size() for tensor in self.model.state_dict().values())
        return model + 3 * sum(parameter.numel() * parameter.element_size() for _, parameter in self._trained())

    @contextmanager
    def averaged_model(self) -> Iterator[Any]:
        """Lend the model with its averaged weights; all processes enter, and of a sharded model the main one alone gets a copy."""
        if isinstance(self.model, FSDPModule):
            with self._whole_copy() as copy:
                yield copy
            return
        parameters = [parameter for _, parameter in self._trained()]
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        try:
            yield self.model
        finally:
            self.ema.restore(parameters)

    @contextmanager
    def _whole_copy(self) -> Iterator[Any]:
        """Lend a sharded model's copy, which waits in main memory; None where there is none."""
        tensors = gathered(self._model_tensors() | self._averages())
        if self.whole_model is None:
            yield None
            return
        own = self.whole_model.state_dict()
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
        try:
            yield self.whole_model.to(self.ema.shadow_params[0].device)
        finally:
            self.whole_model.to("cpu")

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return trained_parameters(self.model)

    def _averages(self) -> dict[str, Tensor]:
        return {name: average for (name, _), average in zip(self._trained(), self.ema.shadow_params, strict=True)}

    def _model_tensors(self) -> dict[str, Tensor]:
        """Return parameters and buffers, those that are one under several names once."""
        first: dict[int, str] = {}
        tensors = self.model.state_dict(keep_vars=True)
        return {name: value.detach() for name, value in tensors.items() if first.setdefault(id(value), name) == name}

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        state = self.optimizer.state
        return {f"{name}/{key}": value for parameter, name in names.items() for key, value in state.get(parameter, {}).items()}

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        """Hand the tensors to the optimizer under the numbers it knows its parameters by."""
        parameters = dict(self.model.named_parameters())
        names = {parameter: name for name, parameter in parameters.items()}
        order = [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]
        numbers = {name: number for number, name in enumerate(order)}
        state: dict[int, dict[str, Tensor]] = {}
        for path, tensor in tensors.items():
            name, key = path.rsplit("/", 1)
            own = part_of(tensor, parameters[name]) if tensor.shape == parameters[name].shape else tensor  # the step count is a number
            state.setdefault(numbers[name], {})[key] = own.clone()  # a copy: the file may be deleted while training goes on
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})


def trained_parameters(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that are not frozen, by name."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def seed_of(seed: int, *what: int | str) -> int:
    """Derive an independent seed in [0, 2^63) from the run's seed and what it is for."""
    digest = hashlib.sha256("/".join(map(str, (seed, *what))).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
