"""Micro-batches: as many samples at a time as the memory holds, found by trying."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

from gen.training.state import TrainState, trained_parameters
from gen.training.trainer import DataSource, Trainer, TrainerError

logger = logging.getLogger(__name__)


def in_micro_batches(trainer: Trainer, dataset: DataSource, state: TrainState, accelerator: Accelerator) -> DataSource:
    """Return the dataset, or a copy with smaller batches if `trainer.auto_micro_batch` asks or an earlier start of the run did.

    The same samples make a global step either way, in more forwards. All processes take the same number of samples at a time.

    Raises:
        TrainerError: if not even one sample fits.
    """
    per_process = state.effective_batch // accelerator.num_processes
    if state.micro_batch is None and trainer.auto_micro_batch:
        sizes = _sizes(dataset.train_batch_size, per_process)
        own = next((size for size in sizes if _fits(_copy(dataset, size), state, accelerator, trainer.max_train_steps - 1)), 0)
        found = int(accelerator.gather(torch.tensor([own], device=accelerator.device)).min())
        if not found:
            remedy = "train with trainer.mixed_precision=bf16, with gradient checkpointing, with a smaller model or smaller pictures"
            raise TrainerError(f"trainer.auto_micro_batch: not even one sample fits into the memory of {accelerator.device}; {remedy}")
        logger.info("trainer.auto_micro_batch: %d of dataset.train_batch_size=%d samples at a time", found, dataset.train_batch_size)
        state.micro_batch = found
    return dataset if state.micro_batch is None else _copy(dataset, next(_sizes(state.micro_batch, per_process)))


def _sizes(most: int, samples: int) -> Iterator[int]:
    """Yield how many may be taken at a time, so that it comes out even: `most` of them or a little less, half of that, and so on to 1."""
    while most:
        if samples % most:
            most -= 1
        else:
            yield most
            most //= 2


def _copy(dataset: Any, train_batch_size: int) -> DataSource:
    smaller = copy.copy(dataset)
    smaller.train_batch_size = train_batch_size
    return smaller


def _fits(dataset: DataSource, state: TrainState, accelerator: Accelerator, global_step: int) -> bool:
    """Try one forward and backward of this process alone, and undo whatever they do.

    Args:
        dataset: its next batch is tried.
        state: its model is tried, while memory is held for what the optimizer has not allocated yet.
        accelerator: says on which device, and which batch is this process's.
        global_step: a late one, in which every loss has begun.
    """
    rank, num_processes, device = accelerator.process_index, accelerator.num_processes, accelerator.device
    buffers = [(buffer, buffer.clone()) for buffer in state.model.buffers()]
    batches = dataset.train_batches(seed=state.seed, rank=rank, num_processes=num_processes, start=state.position)
    clear_device_cache(garbage_collection=True)  # of what was tried before
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            missing = [parameter for _, parameter in trained_parameters(state.model) if parameter not in state.optimizer.state]
            moments = [torch.empty_like(parameter) for parameter in (*missing, *missing)]
            state.model(next(batches).to(device), global_step).total.backward()
            del moments
            return True
        except RuntimeError as error:
            if not should_reduce_batch_size(error):
                raise
            return False
        finally:
            state.model.zero_grad()
            for buffer, value in buffers:
                buffer.copy_(value)
            if hasattr(batches, "close"):
                batches.close()
