"""Turns run folders into one HTML page that holds everything it shows: curves, previews, figures, the config, the command."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from gen.report.curves import BUCKETS, MIN_SMOOTHED, NUM_COLOURS, SMOOTHED, Curve, line_chart, share_chart
from gen.report.pictures import MAX_LARGE_PIXELS, MAX_PANELS, Picture, inlined, newest_previews, previews
from gen.report.reader import MAX_METRICS, Run, in_words, leaves, read_run

MAX_RUNS = 8
MAX_VALUE_LETTERS, MAX_ROWS = 2000, 500
TEMPLATE = Path(__file__).with_name("page.html")
SECONDS, RATE = "seconds/", "images_per_second"
OPTIMISATION = ("learning_rate", "grad_norm")


@dataclass(frozen=True)
class Chart:
    """One of the small multiples.

    Attributes:
        name: of the metric.
        svg: the drawing.
        last: the last value of each run that has any: (colour, text).
        legend: what its colours mean where they are not the runs': (colour, text).
    """

    name: str
    svg: str
    last: list[tuple[int, str]]
    legend: tuple[tuple[int, str], ...] = ()


def write_run_page(folders: Sequence[Path], out: Path) -> None:
    """Write the page of one run, or of several beside one another; a page that is there is replaced, for it is derived.

    Raises:
        ValueError: if a folder holds no run, is given twice, or there are too many.
    """
    from gen.run_files import write_text

    write_text(out, run_page(folders))


def run_page(folders: Sequence[Path]) -> str:
    """Return the page of one run, or of several beside one another: it asks for nothing outside itself, and runs nothing that a run says.

    Args:
        folders: of the runs, 1 to `MAX_RUNS`; trainings may be writing in them.

    Raises:
        ValueError: if a folder holds no run, is given twice, or there are too many.
    """
    if not 1 <= len(folders) <= MAX_RUNS:
        raise ValueError(f"{len(folders)} runs: a page shows 1 to {MAX_RUNS}; give fewer")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"a run is given twice: {', '.join(map(str, folders))}; give each once")
    runs = [read_run(folder) for folder in folders]
    exps = [run.exp for run in runs]
    names = exps if len(set(exps)) == len(exps) else [str(folder) for folder in folders]
    notes = [note for run in runs for note in run.notes] + _left_out(runs, names)
    told = {
        "runs": [_headline(run, name, number) for number, (run, name) in enumerate(zip(runs, names, strict=True))],
        "groups": _groups(runs),
        "previews": previews(runs[0], notes) if len(runs) == 1 else newest_previews(runs, names, notes),
        "figures": _figures(runs),
        "evaluation": _evaluation(runs, names, notes),
        "differences": _differences(runs) if len(runs) > 1 else [],
        "notes": notes,
        "buckets": BUCKETS,
        "smoothed": SMOOTHED,
        "min_smoothed": MIN_SMOOTHED,
    }
    return _rendered(told)


def _rendered(told: dict[str, Any]) -> str:
    from jinja2 import Environment, StrictUndefined

    source = TEMPLATE.read_text(encoding="utf-8")
    script = source.partition("<script>")[2].partition("</script>")[0]
    allowed = base64.b64encode(sha256(script.encode()).digest()).decode()  # of scripts, only ours: whatever a run's texts hold
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(source).render(told, script_hash=allowed)
    return page.encode("utf-8", "replace").decode()  # JSON may hold halves of letters, which no file can


def _headline(run: Run, name: str, colour: int) -> dict[str, Any]:
    """Return what is said of a run in words."""
    word, sentence = in_words(run)
    tags = run.config.get("tags")
    versions = run.start.get("versions")
    environment = {"hardware": run.start.get("hardware"), "processes": run.start.get("num_processes")}
    environment |= versions if isinstance(versions, dict) else {}
    step, last = run.global_step, run.max_train_steps
    checkpoints = f"{len(run.checkpoints)}, the newest of step {run.checkpoints[-1]:,}" if run.checkpoints else "none"
    first = run.start.get("first_num_processes", run.start.get("num_processes"))
    resumed_from = run.start.get("global_step")
    started = str(run.start.get("started", "")).replace("T", " ")[:40]
    there = {"checkpoints": checkpoints, "pipeline": "written" if (run.folder / "pipeline").is_dir() else "none yet"}
    there |= {kind: f"{count} files" for kind in ("profile", "nonfinite") if (count := _count(run.folder / kind))}
    return {
        "name": name,
        "colour": colour,
        "tags": [_brief(tag) for tag in tags[:50]] if isinstance(tags, list) else [],
        "word": word,
        "sentence": sentence,
        "step": f"{step:,}",
        "of": f"{last:,}" if last else "?",
        "share": min(1.0, step / last) if last > 0 else 0.0,
        "started": f"{started}, from step {resumed_from:,}" if isinstance(resumed_from, int) and resumed_from > 0 else started,
        "updated": str(run.status.get("updated", "")).replace("T", " ")[:40],
        "command": run.command,
        "working_directory": _brief(run.start.get("working_directory", "")),
        "num_machines": run.start.get("num_machines", 1),
        "other_first": "" if first == run.start.get("num_processes", first) else str(first),
        "environment": {key: _brief(value) for key, value in environment.items() if value is not None},
        "there": there,
        "config": _tree(run.config) if run.config else [],
        "facts": [fact[:MAX_VALUE_LETTERS] for fact in [*run.facts, *_told_apart(run)]],
    }


def _told_apart(run: Run) -> list[str]:
    """Say so where the figures are not of the command that the page shows: a run that is finished can be evaluated later."""
    return (
        ["by another command than the one above, which asks for no evaluation"] if run.figures and not run.config.get("evaluation") else []
    )


def _groups(runs: Sequence[Run]) -> list[tuple[str, list[Chart]]]:
    """Return the charts by group: losses, optimisation, what has a prefix, speed."""
    groups: dict[str, list[Chart]] = {"Losses": [], "Optimisation": []}
    shares = _shares(runs[0]) if len(runs) == 1 else []
    for name in dict.fromkeys(name for run in runs for name in run.metrics.values):
        prefix = name.partition("/")[0] if "/" in name else ""
        is_speed = name == RATE or name.startswith(SECONDS)
        title = "Optimisation" if name in OPTIMISATION else "Speed" if is_speed else prefix[:200].capitalize() or "Losses"
        chart = None if shares and name.startswith(SECONDS) else _line_chart(runs, name)
        if chart is not None:
            groups.setdefault(title, []).append(chart)
    groups.setdefault("Speed", []).extend(shares)
    last = groups.pop("Speed", [])
    return [(title, charts) for title, charts in [*groups.items(), ("Speed", last)] if charts]


def _line_chart(runs: Sequence[Run], name: str) -> Chart | None:
    curves = {number: curve for number, run in enumerate(runs) if (curve := _curve(run, name))}
    if not curves:
        return None
    told = "; ".join(
        f"from {values[0]:.4g} at step {steps[0]:.0f} to {values[-1]:.4g} at step {steps[-1]:.0f}" for steps, values in curves.values()
    )
    svg = line_chart(curves, _last_step(runs), f"{name[:200]}: {told}")
    last = [(number, f"{values[-1]:.4g}") for number, (_, values) in curves.items()]
    return Chart(name[:200], svg, last)


def _last_step(runs: Sequence[Run]) -> float:
    return max([1.0, *(float(run.metrics.steps[-1]) for run in runs if len(run.metrics.steps))])


def _curve(run: Run, name: str) -> Curve | None:
    values = run.metrics.values.get(name)
    if values is None or not np.isfinite(values).any():
        return None
    there = np.isfinite(values)
    return run.metrics.steps[there], values[there]


def _shares(run: Run) -> list[Chart]:
    """Return the chart of where a step's time goes: the sections with the most of it, and all others as one."""
    sections = {name: np.nan_to_num(values).clip(min=0) for name, values in run.metrics.values.items() if name.startswith(SECONDS)}
    total = sum(sections.values(), np.zeros(len(run.metrics.steps)))
    there = total > 0
    if not there.any():
        return []
    ordered = sorted(sections, key=lambda name: -float(sections[name].sum()))
    named, others = (ordered, []) if len(ordered) <= NUM_COLOURS else (ordered[: NUM_COLOURS - 1], ordered[NUM_COLOURS - 1 :])
    parts = {name[len(SECONDS) :]: sections[name][there] for name in named}
    if others:
        parts["others"] = sum(sections[name][there] for name in others)
    whole = float(total[there].sum())
    legend = tuple((number, f"{name[:40]} {_percent(values.sum() / whole)}") for number, (name, values) in enumerate(parts.items()))
    svg = share_chart(
        run.metrics.steps[there], list(parts.values()), _last_step([run]), "Share of the time: " + ", ".join(text for _, text in legend)
    )
    return [Chart("where the time goes", svg, [], legend)]


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.005 else "under 1%"


def _evaluation(runs: Sequence[Run], names: Sequence[str], notes: list[str]) -> list[Picture]:
    """Return the pictures that evaluations have drawn."""
    files = [(name, run.folder / "evaluation" / "edits.png") for run, name in zip(runs, names, strict=True)]
    made = [
        inlined(path, f"edited scenes of the evaluation of {name}", name, MAX_LARGE_PIXELS, notes) for name, path in files if path.exists()
    ]
    return [picture for picture in made if picture]


def _figures(runs: Sequence[Run]) -> tuple[list[str], list[tuple[str, list[list[str]]]]]:
    """Return the head of the evaluation's table and its rows by their first cell, the operation, without it.

    Of several runs the third column, the value, is shown beside one another.
    """
    tables = [[[cell[:200] for cell in row] for row in run.figures[:MAX_ROWS]] for run in runs]
    if len(runs) == 1:
        head, *rows = tables[0] or [[]]
    else:
        head = ["operation", "figure"] if any(tables) else []
        values = [{(row[0], row[1]): row[2] for row in table[1:] if len(row) > 2} for table in tables]
        rows = [[*key, *(found.get(key, "-") for found in values)] for key in dict.fromkeys(key for found in values for key in found)]
    return head[1:], [(first, [row[1:] for row in group]) for first, group in groupby(rows, key=lambda row: row[0])]


def _differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the keys of which not all configs have the same value, with each config's."""
    told = [leaves(run.config) for run in runs]
    keys = list(dict.fromkeys(key for found in told for key in found))
    differing = [key for key in keys if len({found.get(key) for found in told}) > 1]
    return [(key[:200], [found.get(key, "absent")[:MAX_VALUE_LETTERS] for found in told]) for key in differing[:MAX_ROWS]]


def _left_out(runs: Sequence[Run], names: Sequence[str]) -> list[str]:
    """Say what of the runs is not in the page."""
    said = []
    for run, name in zip(runs, names, strict=True):
        if run.metrics.damaged:
            said.append(f"{name}: {run.metrics.damaged} damaged lines of metrics.jsonl are skipped.")
        if run.metrics.left_out:
            said.append(f"{name}: {run.metrics.left_out} metrics beyond the first {MAX_METRICS} are left out.")
        if len(run.previews) > MAX_PANELS:
            said.append(f"{name}: {len(run.previews) - MAX_PANELS} panels beyond the first {MAX_PANELS} are left out.")
    return said


def _tree(value: Any, depth: int = 0) -> Any:
    """Return a config as nested lists of (key, text or list), bounded in depth and in the length of texts."""
    if isinstance(value, dict) and value and depth < 20:
        return [(str(key)[:200], _tree(child, depth + 1)) for key, child in value.items()]
    return _brief(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_VALUE_LETTERS else f"{text[:MAX_VALUE_LETTERS]} ... ({len(text):,} letters)"


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
