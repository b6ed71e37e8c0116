"""What a person sees of a run: the progress bar, metrics.jsonl, and a tracker if one is asked for."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image
from tqdm import tqdm

from gen.run_files import METRICS, write_text
from gen.sections import Account

BESIDE_TRAINING = ("preview", "checkpoint", "profile")


def is_timing(name: str) -> bool:
    """Tell whether a metric was measured by a clock, and so differs between two runs that are otherwise the same."""
    return name == "images_per_second" or name.startswith("seconds/")


class Stopwatch:
    """Tell how fast training is and where its time goes, since the last reading.

    Args:
        account: of the sections of the steps that are counted.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._begin, self._images, self._steps = perf_counter(), 0, 0

    def add(self, images: int) -> None:
        """Count one global step."""
        self._images += images
        self._steps += 1

    def read(self) -> dict[str, float]:
        """Return images per second, and every section's mean seconds per global step, and begin anew.

        Images per second leave out what lies beside training: previews, checkpoints, the writing of profiles.
        """
        seconds, now = self._account.read(), perf_counter()
        training = now - self._begin - sum(seconds.get(name, 0.0) for name in BESIDE_TRAINING)
        rates = {"images_per_second": self._images / training}
        rates |= {f"seconds/{name}": total / self._steps for name, total in seconds.items()}
        self._begin, self._images, self._steps = now, 0, 0
        return rates


class Tracking:
    """Show a run's progress on the main process; every other process stays silent.

    Args:
        accelerator: with the tracker in its `log_with`.
        folder: the run folder.
        config: is given to wandb; `exp` and `tags` name the run there.
        global_step: where the run begins.
        max_train_steps: where it ends.
    """

    def __init__(self, accelerator: Accelerator, folder: Path, config: dict[str, Any], global_step: int, max_train_steps: int) -> None:
        self._accelerator = accelerator
        self._metrics = (folder / METRICS).open("a") if accelerator.is_main_process else None
        calm = 0.2 if sys.stderr.isatty() else 10.0  # a log file needs no line for every step
        hidden = not accelerator.is_main_process
        self._bar = tqdm(total=max_train_steps, initial=global_step, disable=hidden, mininterval=calm, unit="step", dynamic_ncols=True)
        trackers = [tracker.value if hasattr(tracker, "value") else str(tracker) for tracker in accelerator.log_with]
        if "wandb" in trackers:
            _start_wandb(accelerator, folder, config)
        elif trackers:  # what a killed process told TensorBoard of steps that are done again is hidden
            accelerator.init_trackers(trackers[0], init_kwargs={"tensorboard": {"purge_step": global_step + 1}})

    def step(self, global_step: int) -> None:
        """Move the bar."""
        self._bar.update(global_step - self._bar.n)

    def log(self, metrics: dict[str, float], global_step: int) -> None:
        """Write one line of metrics.jsonl, and the same to the tracker."""
        training = sum(metrics[name] for name in metrics if name.startswith("seconds/") and name[8:] not in BESIDE_TRAINING)
        rates = f"{metrics['images_per_second']:.1f} images/s, {metrics['seconds/data'] / training:.0%} waiting for data"
        self._bar.set_postfix_str(f"loss {metrics['loss']:.4f}, {rates}", refresh=False)
        if self._metrics:
            self._metrics.write(json.dumps({"global_step": global_step} | metrics) + "\n")
            self._metrics.flush()
        self._accelerator.log(metrics, step=global_step)

    def log_images(self, pictures: dict[str, Image.Image], global_step: int) -> None:
        """Hand pictures to the tracker."""
        arrays = {name: np.asarray(picture.convert("RGB"))[None] for name, picture in pictures.items()}
        for tracker in self._accelerator.trackers:
            options = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images(arrays, step=global_step, **options)

    def close(self) -> None:
        """Finish the bar, the file and the tracker."""
        self._bar.close()
        if self._metrics:
            self._metrics.close()
        for tracker in self._accelerator.trackers:
            tracker.finish()


def _start_wandb(accelerator: Accelerator, folder: Path, config: dict[str, Any]) -> None:
    """Start wandb, offline where it has no key; the run folder remembers its wandb run and continues it."""
    import wandb

    offline = "WANDB_MODE" not in os.environ and not wandb.api.api_key
    name, known = str(config.get("exp", folder.name)), folder / "wandb" / "run_id"
    if accelerator.is_main_process and not known.exists():
        known.parent.mkdir(exist_ok=True)
        write_text(known, secrets.token_hex(4))
    accelerator.wait_for_everyone()
    options: dict[str, Any] = {"name": name, "id": known.read_text(), "resume": "allow", "dir": str(folder)}
    options |= {"tags": list(config.get("tags", [])), "mode": "offline"} if offline else {"tags": list(config.get("tags", []))}
    accelerator.init_trackers("region-latents", config=config, init_kwargs={"wandb": options})
