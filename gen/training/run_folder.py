"""The run folder's record: which config made it, how far it is, who is training in it, and its metrics up to the step resumed from."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from gen.run_files import BITS, CONFIG, LOCK, METRICS, START, STATUS, HeldError, hold, write_text
from gen.training.interruption import Interrupted

if TYPE_CHECKING:  # it imports diffusers, and `train.py --help` reads this file
    from gen.training.state import TrainState

logger = logging.getLogger(__name__)

Status = Literal["running", "requeue", "failed", "trained", "finished"]
# These, and what lies below them, do not change the weights. The last two say how the work is cut: like the number of processes, which may
# change as well, they change in which order sums are rounded.
MAY_CHANGE = (
    "trainer.log_with", "trainer.eval_every_n_steps", "trainer.checkpointing_steps", "trainer.checkpoints_total_limit",
    "trainer.keep_checkpoints_every_n_steps", "trainer.profile", "trainer.profile_with", "dataset.num_workers", "previews", "evaluation",
    "tags", "model.loss_weights.max_train_steps", "trainer.distributed", "trainer.auto_micro_batch",
)  # fmt: skip
MAY_CHANGE_IF_CONSTANT = "trainer.max_train_steps"  # a decaying learning rate depends on it, a constant one does not


class RunFolderError(ValueError):
    """A run folder that belongs to another run; the message holds the difference."""


def folder_of(exp: str) -> Path:
    """Return the folder of a run: outputs/<exp>, where `exp` may contain slashes.

    Raises:
        RunFolderError: if it would lie elsewhere.
    """
    path = PurePosixPath(exp)
    if path.is_absolute() or ".." in path.parts or path.name in ("", "."):
        raise RunFolderError(f"exp={exp!r}: must be a name, or names joined by slashes, and stay inside outputs/")
    return Path("outputs") / path


def refuse_another_config(folder: Path, config: dict[str, Any]) -> None:
    """Compare `config` with the one that the folder was made with; touch nothing.

    Raises:
        RunFolderError: with every key that differs, as key: old -> new.
    """
    path = folder / CONFIG
    if not path.exists():
        if (folder / "state").exists() or (folder / METRICS).exists():
            raise RunFolderError(f"{folder}: holds a run without its {CONFIG}; choose another exp, or delete the folder")
        return
    try:
        old = _leaves(json.loads(path.read_text()))
    except ValueError as error:
        raise RunFolderError(f"{path}: damaged ({error}), so nothing tells which run this is; restore it, or choose another exp") from error
    new = _leaves(json.loads(json.dumps(config)))
    may_change = set(MAY_CHANGE)
    if str(new.get("trainer.lr_scheduler")).startswith("constant"):
        may_change.add(MAY_CHANGE_IF_CONSTANT)
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key, "absent") != new.get(key, "absent")]
    keys = [key for key in different if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in may_change)]
    if keys:
        lines = "\n".join(f"  {key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}" for key in keys)
        raise RunFolderError(f"{folder}: holds a run with another config, and was left as it was. Choose another exp, or undo:\n{lines}")


class RunRecord:
    """The folder while a process works in it: locked against a second training, with a status that says how it goes or why it ended.

    The lock belongs to the process (POSIX record lock): it is not inherited by loader workers, and the system drops it when the process
    dies, however that happens.

    Args:
        folder: of the run; it is made on entering.
        max_train_steps: where the run ends.
        writes: whether this is the process that keeps the record; in any other nothing is done.

    Raises:
        RunFolderError: on entering, if another process trains in the folder, or it cannot be written.
    """

    def __init__(self, folder: Path, max_train_steps: int, *, writes: bool) -> None:
        self._folder, self._max_train_steps, self._writes = folder, max_train_steps, writes
        self._state: TrainState | None = None
        self._ended = False

    def __enter__(self) -> RunRecord:
        if self._writes:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._lock = hold(self._folder / LOCK)
            except HeldError as owner:
                remedy = "wait for its end, or choose another exp"
                raise RunFolderError(f"{self._folder}: another training runs in it ({owner}); {remedy}") from None
            except PermissionError as error:
                raise RunFolderError(f"{self._folder}: cannot be written ({error}); start from a folder that can") from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None:
            self._end(error)
        if self._writes:
            self._lock.close()

    def begin(self, config: dict[str, Any], state: TrainState) -> None:
        """Record the config, the command and that the run is running, and drop the metrics of steps that will be done again."""
        self._state = state
        if self._writes:
            write_text(self._folder / CONFIG, json.dumps(config, indent=1))
            write_text(self._folder / START, json.dumps(_this_start(self._folder / START, state), indent=1))
            _drop_metrics_after(self._folder / METRICS, state.global_step)
            record_status(self._folder, "running", state.global_step, self._max_train_steps)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Say how the training ends as soon as it does: trackers may take long to finish, and a launcher may not wait for them."""
        try:
            yield
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        """Write how it ended, once."""
        if self._ended or not self._writes:
            return
        self._ended = True
        status: Status = "trained" if error is None else "requeue" if isinstance(error, Interrupted) else "failed"
        message = "" if error is None else str(error) or type(error).__name__
        try:
            record_status(self._folder, status, self._state.global_step if self._state else 0, self._max_train_steps, message)
        except OSError as full:  # must not hide why the run ended
            logger.warning("%s: cannot be written: %s", self._folder / STATUS, full)


def record_status(folder: Path, status: Status, global_step: int, max_train_steps: int, message: str = "") -> None:
    """Replace status.json: what the run does, or why it ended; a run that was killed outright still says that it is running."""
    record = {"status": status, "global_step": global_step, "max_train_steps": max_train_steps, "message": message}
    write_text(folder / STATUS, json.dumps(record | {"updated": datetime.now().astimezone().isoformat(timespec="seconds")}, indent=1))


def record_end(folder: Path, status: Literal["trained", "finished"], max_train_steps: int) -> None:
    """Say that the last step is done, or that what shall follow the training is done too; once said, leave the file alone."""
    try:
        said = json.loads((folder / STATUS).read_text())["status"]
    except (OSError, ValueError, KeyError):  # killed between the last checkpoint and this file
        said = None
    if said not in (status, "finished"):
        record_status(folder, status, max_train_steps, max_train_steps)


def _this_start(path: Path, state: TrainState) -> dict[str, Any]:
    """Return the words that started this process, and where and when: the config alone does not tell which words composed it.

    Args:
        path: where the start before this one may be told.
        state: says from which step it goes on.
    """
    import torch

    is_script = hasattr(sys.modules["__main__"], "__file__")  # not a notebook, nor `python -c`: their words start nothing again
    num_processes = int(os.environ.get("WORLD_SIZE", "1"))
    device = next(state.model.parameters()).device
    on_cpu = f"CPU ({platform.machine()}), {torch.get_num_threads()} threads"
    versions = {"python": platform.python_version()} | {name: version(name) for name in ("torch", "diffusers", "accelerate")}
    return {
        "words": [os.path.relpath(sys.argv[0]), *sys.argv[1:]] if is_script else [],
        "working_directory": str(Path.cwd()),
        "environment": _bits_of_environment(),
        "num_processes": num_processes,
        "first_num_processes": num_processes if state.global_step == 0 else _first_num_processes(path, num_processes),
        "num_machines": num_processes // int(os.environ.get("LOCAL_WORLD_SIZE", num_processes)),
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "global_step": state.global_step,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu,
        "versions": versions,
    }


def _first_num_processes(path: Path, default: int) -> int:
    """Return how many processes began the run: they fixed the samples of a step, whatever number goes on with it."""
    try:
        return int(json.loads(path.read_text())["first_num_processes"])
    except (OSError, ValueError, KeyError, TypeError):
        return default


def _bits_of_environment() -> dict[str, str]:
    """Return the variables that can change bits, without those by which accelerate's launcher speaks to its processes."""
    launched = "ACCELERATE_DYNAMO_BACKEND" in os.environ
    launchers = ("ACCELERATE_", "KMP_") if launched else ()
    kept = {name: value for name, value in sorted(os.environ.items()) if name.startswith(BITS) and not name.startswith(launchers)}
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower()
    return kept | ({"ACCELERATE_USE_CPU": on_cpu} if launched and on_cpu == "true" else {})


def _drop_metrics_after(path: Path, global_step: int) -> None:
    """Drop the lines of steps that will be done again, and those that are no JSON: a last one cut short, a damaged one."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(errors="replace").splitlines(keepends=True):
        try:
            done = json.loads(line)["global_step"] <= global_step
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: a damaged line is dropped: %.60r", path, line)
            continue
        if line.endswith("\n") and done:
            kept.append(line)
    write_text(path, "".join(kept))


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys; a list is one value."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {key: leaf for name, child in value.items() for key, leaf in _leaves(child, f"{prefix}.{name}" if prefix else name).items()}
