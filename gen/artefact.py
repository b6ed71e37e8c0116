"""Folders on disk that are whole or absent: written aside, checksummed, renamed; verified before use."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

MANIFEST = "manifest.json"


class ArtefactError(ValueError):
    """A folder that cannot be trusted or cannot be written; the message names the file and the remedy."""


class DiskFullError(ArtefactError):
    """A disk or a quota that cannot hold what is being written; what was whole before still is."""


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary sibling, checksum it, and only then put it in the place of `folder`.

    A reader, or a process that was killed at any moment, finds the old folder or the new one, never a mixture. (Between the two renames
    of a replacement the old one lies beside it as `.<name>.previous`.)

    Args:
        folder: where the files shall be; an older artefact there is replaced.
        write: is given an empty folder and writes into it.

    Raises:
        ArtefactError: if `folder` holds files that this function did not write; they stay.
        DiskFullError: if there is no room; an older artefact stays.
    """
    folder = Path(folder)
    refuse_foreign(folder)
    partial, previous = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.previous")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with naming_a_full_disk(folder):
            partial.mkdir(parents=True)
            write(partial)
            manifest = {"files": {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in _files(partial).items()}}
            (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True))
            for path in [*partial.rglob("*"), partial]:
                _flush(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)  # half an artefact is worth nothing, and its room may be needed
        raise
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    partial.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def verify_folder(folder: Path) -> None:
    """Check that every file of the manifest is there, with its length and its SHA-256.

    Raises:
        ArtefactError: naming the first file that is missing or damaged.
    """
    folder = Path(folder)
    previous = folder.with_name(f".{folder.name}.previous")
    if not folder.is_dir():
        hint = f"; the one before it is whole: rename {previous} to {folder}" if previous.is_dir() else ""
        raise ArtefactError(f"{folder}: no such folder{hint}")
    for name, entry in _read_manifest(folder).items():
        path = folder / name
        if not path.is_file():
            raise ArtefactError(f"{path}: missing, though {MANIFEST} lists it; copy the whole folder again")
        if path.stat().st_size != entry["bytes"]:
            raise ArtefactError(f"{path}: {path.stat().st_size} bytes instead of {entry['bytes']}: cut short or changed; copy it again")
        if _sha256(path) != entry["sha256"]:
            raise ArtefactError(f"{path}: damaged (SHA-256 differs from {MANIFEST}); copy it again")


def free_space_or_raise(folder: Path, needed_bytes: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: where the bytes shall go; need not exist yet.
        needed_bytes: how many they are.

    Raises:
        DiskFullError: if less is free.
    """
    existing = Path(folder).absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed_bytes:
        sizes = f"{needed_bytes / 1e6:,.1f} MB are needed and {free / 1e6:,.1f} MB are free"
        raise DiskFullError(f"{folder}: {sizes} on {existing}; free some space or choose another disk")


@contextmanager
def naming_a_full_disk(path: Path) -> Iterator[None]:
    """Turn the system's "no space left" into an error that names `path` and the remedy.

    Raises:
        DiskFullError: if what is done inside meets a full disk or a full quota.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        numbers = (errno.ENOSPC, errno.EDQUOT)  # safetensors, written from Rust, and a loader's process only tell them in their message
        if getattr(error, "errno", None) not in numbers and not any(
            words in str(error) for number in numbers for words in (f"os error {number}", f"[Errno {number}]")
        ):
            raise
        raise DiskFullError(f"{path}: the disk or the quota is full ({error}); free some space and run the same command again") from error


def refuse_foreign(folder: Path) -> None:
    """Refuse to write where files lie that `write_folder` did not write.

    Raises:
        ArtefactError: naming the folder.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: is a file, and a folder shall be written there; choose another place")
    if any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ArtefactError(f"{folder}: holds files but no {MANIFEST}, so it is not ours to replace; choose another place or empty it")


def _read_manifest(folder: Path) -> dict[str, dict]:
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_text())["files"]
        entries = {name: {"bytes": int(entry["bytes"]), "sha256": str(entry["sha256"])} for name, entry in files.items()}
    except FileNotFoundError:
        raise ArtefactError(f"{path}: missing, so nothing tells whether {folder} is whole; copy the whole folder again") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: unreadable ({error!r}); copy the whole folder again") from error
    outside = [name for name in entries if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise ArtefactError(f"{path}: lists {outside[0]!r}, which lies outside the folder; do not use this folder")
    return entries


def _files(folder: Path) -> dict[str, Path]:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    paths.pop(MANIFEST, None)
    return paths


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Hand a file or a folder's entries to the disk, so that a rename never comes before its contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
