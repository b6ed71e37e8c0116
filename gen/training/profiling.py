"""Profiling of chosen steps: PyTorch's trace, table and memory snapshot, or the capture range that Nsight Systems waits for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from gen.sections import section
from gen.training.trainer import Trainer, TrainerError

logger = logging.getLogger(__name__)

OPERATORS_IN_TABLE = 50


class StepProfiler:
    """Watches the steps that `trainer.profile` asks for; the numbers that training computes stay the same.

    Args:
        trainer: its `profile` and `profile_with` are read.
        device: where the training computes.
        rank: of this process; every process writes its own files.
        folder: the run folder; the files go to profile/ in it.

    Raises:
        TrainerError: if Nsight's capture range is asked for on a device that has none.
    """

    def __init__(self, trainer: Trainer, device: torch.device, rank: int, folder: Path) -> None:
        self._range, self._with_nsys = trainer.profile, trainer.profile_with == "nsys"
        self._on_cuda, self._rank, self._folder = device.type == "cuda", rank, folder / "profile"
        self._running = ExitStack()
        self._begun = False
        if self._range is not None and self._with_nsys and not self._on_cuda:
            remedy = "set trainer.profile_with=torch"
            raise TrainerError(f"trainer.profile_with=nsys: the capture range is CUDA's, and this training runs on {device}; {remedy}")

    def before(self, global_step: int) -> None:
        """Begin or end what is due before the step that leads from `global_step` to the next."""
        wanted = self._range is not None and self._range[0] <= global_step < self._range[1]
        if wanted == self._begun:
            return
        self._begun = wanted
        with section("profile"):  # writing a trace takes seconds
            if wanted:
                path = self._folder / f"step_{global_step:08d}_rank_{self._rank}"
                self._running.enter_context(_nsys_range() if self._with_nsys else _torch_files(path, self._on_cuda))
            else:
                self.close()

    def close(self) -> None:
        """End a profile that is running, and write it: also that of a run that fails or is asked to stop meanwhile."""
        self._running.close()


@contextmanager
def _torch_files(path: Path, on_cuda: bool) -> Iterator[None]:
    """Profile what happens inside; write a Chrome trace, a table of operators and, on a CUDA device, a memory snapshot."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    if on_cuda:
        torch.cuda.memory._record_memory_history(max_entries=200_000)  # the newest so many allocations and frees
    profiler = profile(activities=activities, profile_memory=True)
    profiler.start()
    try:
        yield
    finally:
        profiler.stop()
        try:
            _write(profiler, path, on_cuda)
        except (OSError, RuntimeError) as error:  # no reason to end a training, nor to hide why it ends
            logger.warning("profile not written: %s.*: %s", path, error)


def _write(profiler: profile, path: Path, on_cuda: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if on_cuda:  # a pickle, the only format that PyTorch has for it; nothing of ours reads it
        torch.cuda.memory._dump_snapshot(f"{path}.memory.pickle")
        torch.cuda.memory._record_memory_history(enabled=None)
    profiler.export_chrome_trace(f"{path}.trace.json.gz")
    order = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    table = profiler.key_averages().table(sort_by=order, row_limit=OPERATORS_IN_TABLE, max_name_column_width=80)
    path.with_name(f"{path.name}.operators.txt").write_text(table + "\n")
    logger.info("profile written: %s.*", path)


@contextmanager
def _nsys_range() -> Iterator[None]:
    """Let `nsys profile --capture-range=cudaProfilerApi` record what the device does inside."""
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    try:
        yield
    finally:
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()
