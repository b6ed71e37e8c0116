"""Run folders as a training leaves them, written in no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

CONFIG = {"exp": "toy", "tags": ["first", "second"], "seed": 0, "trainer": {"max_train_steps": 40, "learning_rate": 0.001}}
FIGURES = """| operation | figure | value | on true renders |
|---|---|---|---|
| move | picture, PSNR, mean | 29.30 dB | 100.00 dB |
| move | identity, mean | 87.5 % | 93.2 % |
| remove | picture, PSNR, mean | 36.87 dB | 100.00 dB |

- scenes: 8
- hardware: a toy
"""


def write_run(folder: Path, *, num_lines: int = 4, previews: tuple[int, ...] = (10, 20), status: str = "finished", **config: Any) -> Path:
    """Write a run of so many metric lines, ten steps apart, with previews of two panels at some steps and an evaluation.

    Args:
        folder: of the run.
        num_lines: of metrics.jsonl.
        previews: their steps.
        status: of the run.
        config: what is other than in `CONFIG`.
    """
    folder.mkdir(parents=True)
    write_json(folder / "config.json", CONFIG | config)
    write_json(folder / "start.json", {"words": ["train.py", "+mode=tiny", "tags=[first,second]"], "num_processes": 1, "hardware": "a toy"})
    write_json(folder / "status.json", {"status": status, "global_step": 10 * num_lines, "max_train_steps": 40, "message": ""})
    lines = [
        {
            "global_step": 10 * k,
            "loss": 2.0 / k,
            "learning_rate": 1e-3,
            "grad_norm": 1.0 + k,
            "tokens/mean_std": 0.5,
            "images_per_second": 9.0,
        }
        | {"seconds/data": 0.1, "seconds/forward": 0.3}
        for k in range(1, num_lines + 1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "previews").mkdir()
    for step in previews:
        for name in ("edits", "position_sweep"):
            Image.new("RGB", (40, 20), (step % 256, 80, 120)).save(folder / "previews" / f"step_{step:08d}_{name}.png")
    (folder / "evaluation").mkdir()
    (folder / "evaluation" / "figures.md").write_text(FIGURES)
    Image.new("RGB", (60, 30), "green").save(folder / "evaluation" / "edits.png")
    return folder


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))
