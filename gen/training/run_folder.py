"""The run folder's record: which config made it, and its metrics up to the step that is resumed from."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

from gen.artefact import write_text

CONFIG, METRICS = "config.json", "metrics.jsonl"
# These, and what lies below them, do not change the weights.
MAY_CHANGE = (
    "trainer.log_with", "trainer.eval_every_n_steps", "dataset.num_workers", "evaluation", "tags", "model.loss_weights.max_train_steps",
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
    old, new = _leaves(json.loads(path.read_text())), _leaves(json.loads(json.dumps(config)))
    may_change = set(MAY_CHANGE)
    if str(new.get("trainer.lr_scheduler")).startswith("constant"):
        may_change.add(MAY_CHANGE_IF_CONSTANT)
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key, "absent") != new.get(key, "absent")]
    keys = [key for key in different if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in may_change)]
    if keys:
        lines = "\n".join(f"  {key}: {old.get(key, 'absent')} -> {new.get(key, 'absent')}" for key in keys)
        raise RunFolderError(f"{folder}: holds a run with another config, and was left as it was. Choose another exp, or undo:\n{lines}")


def record_config(folder: Path, config: dict[str, Any]) -> None:
    """Write `config` into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / CONFIG, json.dumps(config, indent=1))


def drop_metrics_after(folder: Path, global_step: int) -> None:
    """Drop the lines of steps that will be done again, and a last line that was cut short."""
    path = folder / METRICS
    if not path.exists():
        return
    whole = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    write_text(path, "".join(line for line in whole if json.loads(line)["global_step"] <= global_step))


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Flatten nested dicts to dotted keys; a list is one value."""
    if not isinstance(value, dict) or not value:
        return {prefix: value}
    return {key: leaf for name, child in value.items() for key, leaf in _leaves(child, f"{prefix}.{name}" if prefix else name).items()}
