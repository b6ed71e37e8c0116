"""Reads what a run folder says, within bounds and whatever state it is in: nothing of the model is loaded, nothing is written."""

from __future__ import annotations

import io
import json
import re
import shlex
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gen.run_files import CONFIG, LOCK, METRICS, START, STATUS, is_held

MAX_TEXT_BYTES = 4 << 20  # of a small file
MAX_LINE_BYTES = 1 << 20  # of metrics.jsonl
MAX_METRICS, MAX_STEP = 64, 10**12
PREVIEW = re.compile(r"step_(\d{8,12})_(.+)\.png")
CHECKPOINT = re.compile(r"step_(\d{8,12})")


@dataclass(frozen=True)
class Metrics:
    """What metrics.jsonl holds.

    Attributes:
        steps: the global step of each line, [n].
        values: metric -> its value in each line, [n], NaN where a line has none.
        damaged: lines that were skipped.
        left_out: metrics beyond the bound.
    """

    steps: np.ndarray
    values: dict[str, np.ndarray]
    damaged: int
    left_out: int


@dataclass(frozen=True)
class Run:
    """A run folder as it was found.

    Attributes:
        folder: of the run.
        config: its config.json.
        start: its start.json, empty where there is none: who started it last, and on what.
        status: its status.json, empty where there is none.
        held: whether a process of this machine trains in it.
        command: a shell command that makes it again, from the folder in `start`; empty where none is recorded.
        metrics: of metrics.jsonl.
        previews: panel -> (global step, file), by step; the panels in the config's order, then any others.
        figures: rows of the table in evaluation/figures.md, its header first; empty where there is none.
        facts: lines that say how these were measured.
        checkpoints: global steps of the folders in state/, ascending.
        notes: what was found damaged, and skipped.
    """

    folder: Path
    config: dict[str, Any]
    start: dict[str, Any]
    status: dict[str, Any]
    held: bool
    command: str
    metrics: Metrics
    previews: dict[str, list[tuple[int, Path]]]
    figures: list[list[str]]
    facts: list[str]
    checkpoints: list[int]
    notes: list[str]

    @property
    def exp(self) -> str:
        """The run's name."""
        return str(self.config.get("exp", self.folder.resolve().name))

    @property
    def global_step(self) -> int:
        """The last step that the folder knows of."""
        logged = int(self.metrics.steps[-1]) if len(self.metrics.steps) else 0
        return max(logged, _whole_number(self.status.get("global_step")))

    @property
    def max_train_steps(self) -> int:
        """The step at which it ends, 0 where nothing says so."""
        trainer = self.config.get("trainer")
        configured = trainer.get("max_train_steps") if isinstance(trainer, dict) else 0
        return _whole_number(self.status.get("max_train_steps")) or _whole_number(configured)


def read_run(folder: Path) -> Run:
    """Read a run folder; a training may be writing in it.

    Raises:
        ValueError: if it is no run folder, or its config is damaged; with the remedy.
    """
    if not (folder / CONFIG).is_file():
        kind = f"holds no {CONFIG}" if folder.is_dir() else "does not exist"
        raise ValueError(f"{folder}: {kind}; give the folder of a run, such as outputs/demo_exp")
    notes: list[str] = []
    config = _json(folder / CONFIG, notes)
    if notes:
        raise ValueError(f"{notes[0]}; restore it, or give another run")
    start, status = (_json(folder / name, notes) if (folder / name).exists() else {} for name in (START, STATUS))
    metrics = read_metrics(folder / METRICS)
    figures, facts = _figures(folder / "evaluation" / "figures.md", notes)
    return Run(
        folder=folder,
        config=config,
        start=start,
        status=status,
        held=is_held(folder / LOCK),
        command=_command(start),
        metrics=metrics,
        previews=_previews(folder / "previews", config),
        figures=figures,
        facts=facts,
        checkpoints=sorted(int(match[1]) for path in (folder / "state").glob("step_*") if (match := CHECKPOINT.fullmatch(path.name))),
        notes=notes,
    )


def read_metrics(path: Path) -> Metrics:
    """Read metrics.jsonl line by line; a last line without its end is still being written, and left for the next time."""
    steps, columns, damaged, others = array("d"), dict[str, array](), 0, set[str]()
    with path.open("rb") if path.is_file() else io.BytesIO() as file:
        for line in iter(lambda: file.readline(MAX_LINE_BYTES), b""):
            if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                break
            try:
                told = json.loads(line)
                step = float(told.pop("global_step"))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                damaged += 1
                continue
            if not 0 <= step < MAX_STEP:
                damaged += 1
                continue
            for name, value in told.items():
                if isinstance(value, bool) or not isinstance(value, int | float):
                    continue
                if name not in columns and len(columns) == MAX_METRICS:
                    others.add(name)
                    continue
                column = columns.setdefault(name, array("d"))
                column.extend([np.nan] * (len(steps) - len(column)))
                column.append(value if abs(value) < 1e300 else np.nan)
            steps.append(step)
    for column in columns.values():
        column.extend([np.nan] * (len(steps) - len(column)))
    order = np.argsort(np.asarray(steps), kind="stable")
    return Metrics(np.asarray(steps)[order], {name: np.asarray(column)[order] for name, column in columns.items()}, damaged, len(others))


def in_words(run: Run) -> tuple[str, str]:
    """Return how a run is: one word, and a sentence more."""
    said, message = str(run.status.get("status", "")), str(run.status.get("message", ""))[:4000]
    if said == "running" and not run.held:
        return "stopped", "status.json says running, but no process on this machine trains in the folder: it was killed, or runs elsewhere."
    sentences = {
        "": "No status was written.",
        "running": "A process is training in the folder; this page is how far it had come.",
        "requeue": f"Stopped on request. {message}",
        "failed": message,
        "trained": "All steps are done; what was to follow them, such as an evaluation, has not ended.",
        "finished": "Everything that was asked for is done.",
    }
    words = {"": "not begun", "requeue": "interrupted"}
    return words.get(said, said[:40]), sentences.get(said, message)


def leaves(value: Any, prefix: str = "", depth: int = 0) -> dict[str, str]:
    """Flatten nested dicts to dotted keys and the JSON of their values; a list is one value."""
    if not isinstance(value, dict) or not value or depth == 20:
        return {prefix: json.dumps(value, ensure_ascii=False)}
    found: dict[str, str] = {}
    for name, child in value.items():
        found |= leaves(child, f"{prefix}.{name}" if prefix else name, depth + 1)
    return found


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    """Read a JSON object; note what is wrong with it."""
    try:
        text = _text(path)
        found = json.loads(text)
        leaves(found)  # what cannot be written again, for its depth, cannot be shown
    except (ValueError, OSError, RecursionError) as error:
        notes.append(f"{path}: damaged ({error})")
        return {}
    if isinstance(found, dict):
        return found
    notes.append(f"{path}: damaged (no JSON object)")
    return {}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"larger than {MAX_TEXT_BYTES} bytes")
    return content.decode(errors="replace")


def _command(start: dict[str, Any]) -> str:
    """Return the command that start.json tells, for a machine's rank and the first one's address where there were several; or nothing."""
    words, environment = start.get("words"), start.get("environment")
    if not isinstance(words, list) or not words or not all(isinstance(word, str) for word in words):
        return ""
    variables = [f"{name}={value}" for name, value in environment.items()] if isinstance(environment, dict) else []
    num_processes, num_machines = start.get("num_processes", 1), start.get("num_machines", 1)
    launch = []
    if num_processes != 1:  # on CPUs, too, accelerate starts several processes only if it is told --multi_gpu
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(num_processes)]
    if num_machines != 1:
        launch += [
            "--num_machines",
            str(num_machines),
            "--machine_rank",
            "RANK",
            "--main_process_ip",
            "ADDRESS",
            "--main_process_port",
            "PORT",
        ]
    return shlex.join([*(["env", *variables] if variables else []), "python", *launch, *words])


def _previews(folder: Path, config: dict[str, Any]) -> dict[str, list[tuple[int, Path]]]:
    found: dict[str, list[tuple[int, Path]]] = {}
    for path in folder.glob("step_*.png"):
        match = PREVIEW.fullmatch(path.name)
        if match:
            found.setdefault(match[2], []).append((int(match[1]), path))
    chosen = config.get("previews")
    panels = chosen.get("panels") if isinstance(chosen, dict) else None
    order = [name for name in panels if isinstance(name, str)] if isinstance(panels, list) else []
    return {name: sorted(found[name]) for name in dict.fromkeys([*order, *sorted(found)]) if name in found}


def _figures(path: Path, notes: list[str]) -> tuple[list[list[str]], list[str]]:
    """Return the rows of the first table in a Markdown file, and the points of its lists."""
    if not path.is_file():
        return [], []
    try:
        lines = _text(path).splitlines()
    except (ValueError, OSError) as error:
        notes.append(f"{path}: damaged ({error})")
        return [], []
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if not set("".join(row)) <= set("-: ")], [line[2:] for line in lines if line.startswith("- ")]


def _whole_number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
