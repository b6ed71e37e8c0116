"""Checkpoints: whole or absent, the newest few and the marked ones kept, a damaged one named and passed over."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gen.artefact import ArtefactError, free_space_or_raise, verify_folder, write_folder
from gen.training.state import TrainState

logger = logging.getLogger(__name__)

MARK = "keep"  # a checkpoint that holds a file of this name is never deleted; `touch` makes it


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: holds step_00000100/, step_00000200/, ...
        total_limit: the newest so many are kept, besides those that are marked.
        keep_every_n_steps: those of every so many global steps are marked; None marks none.
    """

    folder: Path
    total_limit: int
    keep_every_n_steps: int | None = None

    def save(self, state: TrainState, tensors: dict[str, dict[str, Tensor]]) -> None:
        """Write a checkpoint, then delete those that are too many.

        Args:
            state: as it is now.
            tensors: `state.tensors()`, which all processes asked for.

        Raises:
            DiskFullError: if the disk cannot hold it; the others stay.
        """
        path = self.folder / f"step_{state.global_step:08d}"
        if path.exists():  # only one that `load_newest` found damaged can be in the way
            shutil.rmtree(path)
        free_space_or_raise(self.folder, state.num_bytes())
        write_folder(path, lambda folder: state.save(folder, tensors))
        if self._is_marked(path):
            (path / MARK).touch()  # for whoever changes keep_every_n_steps later
        reached = [other for other in self.paths() if other.name <= path.name and not self._is_marked(other)]
        for old in reached[: -self.total_limit]:
            shutil.rmtree(old)

    def remove_leftovers(self) -> None:
        """Delete what processes that were killed while they wrote have left behind; nobody else may be writing."""
        for partial in self.folder.glob(".step_*.partial"):
            shutil.rmtree(partial)

    def load_newest(self, state: TrainState) -> None:
        """Load the newest whole checkpoint, if there are any; name every damaged one.

        Raises:
            ArtefactError: if there are checkpoints and all are damaged.
        """
        paths = self.paths()
        for path in reversed(paths):
            try:
                verify_folder(path)
            except ArtefactError as error:
                logger.warning("checkpoint passed over, the one before it is used: %s", error)
                continue
            state.load(path)
            return
        if paths:
            raise ArtefactError(f"{self.folder}: all {len(paths)} checkpoints are damaged; delete this folder to train from the start")

    def free_space_or_raise(self, state: TrainState) -> None:
        """Refuse to begin a run whose newest checkpoints the disk cannot hold, with the next one before the oldest goes."""
        there = sum(not self._is_marked(path) for path in self.paths())
        missing = max(self.total_limit + 1 - there, 1)
        free_space_or_raise(self.folder, missing * state.num_bytes())

    def paths(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        return sorted(self.folder.glob("step_" + "[0-9]" * 8))

    def _is_marked(self, path: Path) -> bool:
        step = int(path.name.removeprefix("step_"))
        return (path / MARK).exists() or bool(self.keep_every_n_steps and step % self.keep_every_n_steps == 0)
