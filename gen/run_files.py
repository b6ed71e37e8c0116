"""The small files of a run folder, read by launchers while a training writes: replaced at once, held by one process."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import struct
from pathlib import Path
from typing import IO, Any

logger = logging.getLogger(__name__)

CONFIG, START, METRICS, STATUS, LOCK = "config.json", "start.json", "metrics.jsonl", "status.json", "lock"
# Environment variables that can change a weight's bits: they belong to a command that shall make a run again.
BITS = ("ACCELERATE_", "ATEN_CPU_CAPABILITY", "CUBLAS_", "DNNL_", "KMP_", "MKL_", "NVIDIA_TF32_", "OMP_", "ONEDNN_", "TORCH_ALLOW_TF32_")


class HeldError(OSError):
    """A file that another process holds; the message says which process."""


def write_text(path: Path, text: str) -> None:
    """Replace a small text file so that a reader finds the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def hold(path: Path) -> IO[str]:
    """Lock a file and write into it who did; closing it, or the end of this process however it comes, gives it free.

    Raises:
        HeldError: if another process holds it.
    """
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            _warn_of_no_locks(path, error)
            return file
        file.seek(0)
        owner = file.read().strip()
        file.close()
        raise HeldError(owner) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def is_held(path: Path) -> bool:
    """Tell whether another process holds a file, by asking: a lock of ours, however short, could stop it."""
    if not path.exists():
        return False
    with path.open() as file:
        try:
            answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))  # struct flock
        except OSError as error:
            _warn_of_no_locks(path, error)
            return False
    return struct.unpack("hhqqi0q", answer)[0] != fcntl.F_UNLCK


def progress(folder: Path) -> dict[str, Any]:
    """Return what a run's status.json and the last whole line of its metrics.jsonl say; `global_step` is always there."""
    metrics, status = folder / METRICS, folder / STATUS
    found: dict[str, Any] = {"global_step": 0}
    if metrics.exists():
        with metrics.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 65_536))
            whole = [line for line in file.read().split(b"\n")[:-1] if line.startswith(b"{")]
        found |= json.loads(whole[-1]) if whole else {}
    said = json.loads(status.read_text()) if status.exists() else {}
    return found | said | {"global_step": max(found["global_step"], said.get("global_step", 0))}


def _warn_of_no_locks(path: Path, error: OSError) -> None:
    logger.warning("%s: this file system has no locks (%s), so nothing keeps a second process out", path, error)
