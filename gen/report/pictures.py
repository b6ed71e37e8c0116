"""Chooses a run's previews and puts pictures into a page: as WebP, shrunk where they are large."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gen.report.reader import Run
from image_utils import bounded

if TYPE_CHECKING:
    from PIL import Image

MAX_PANELS, MAX_STEPS, MAX_PICTURES = 12, 12, 36  # a page of one run: panels, steps of each, pictures in all
MAX_PIXELS, MAX_LARGE_PIXELS = 2_500_000, 9_000_000  # of a picture, and of the newest: eight position sweeps with legible captions
MAX_SIDE = 16_383  # of WebP


@dataclass(frozen=True)
class Picture:
    """A picture inside a page.

    Attributes:
        uri: its bytes, as a data URI.
        width: in pixels.
        height: in pixels.
        alt: what it shows.
        caption: what is written beside it.
    """

    uri: str
    width: int
    height: int
    alt: str
    caption: str


@dataclass(frozen=True)
class Preview:
    """What one panel showed while runs trained.

    Attributes:
        name: of the panel.
        pictures: of one run by step, the newest last; or the newest of several runs.
        num_steps: how many there are, in the page or not.
    """

    name: str
    pictures: list[Picture]
    num_steps: int


def previews(run: Run, notes: list[str]) -> list[Preview]:
    """Return each panel's pictures, evenly chosen over the steps, the first and the last included; note what cannot be read."""
    found = []
    panels = list(run.previews)[:MAX_PANELS]
    for name in panels:
        files = run.previews[name]
        count = min(len(files), MAX_STEPS, max(2, MAX_PICTURES // len(panels)))
        chosen = [files[round(place)] for place in np.linspace(0, len(files) - 1, count)]
        bounds = [MAX_PIXELS] * (count - 1) + [MAX_LARGE_PIXELS]
        made = [
            inlined(path, f"{name} at step {step}", f"step {step:,}", bound, notes)
            for (step, path), bound in zip(chosen, bounds, strict=True)
        ]
        found.append(Preview(name, [picture for picture in made if picture], len(files)))
    return [preview for preview in found if preview.pictures]


def newest_previews(runs: Sequence[Run], names: Sequence[str], notes: list[str]) -> list[Preview]:
    """Return the newest picture of each panel of each run; note what cannot be read."""
    found = []
    panels = list(dict.fromkeys(panel for run in runs for panel in run.previews))
    for panel in panels[: min(MAX_PANELS, MAX_PICTURES // len(runs))]:
        newest = [(name, *run.previews[panel][-1]) for run, name in zip(runs, names, strict=True) if panel in run.previews]
        made = [
            inlined(path, f"{panel} of {name} at step {step}", f"{name}, step {step:,}", MAX_PIXELS, notes) for name, step, path in newest
        ]
        found.append(Preview(panel, [picture for picture in made if picture], len(newest)))
    return [preview for preview in found if preview.pictures]


def inlined(path: Path, alt: str, caption: str, max_pixels: int, notes: list[str]) -> Picture | None:
    """Read a PNG and shrink it to so many pixels; None, and a note, if it cannot be read."""
    try:
        with bounded.opened(path, ("PNG",), bounded.MAX_BYTES, bounded.MAX_PIXELS) as image:
            picture = _shrunk(image.convert("RGB"), max_pixels)
    except ValueError as error:
        notes.append(str(error))
        return None
    file = io.BytesIO()
    picture.save(file, "webp", quality=85, method=2)  # half the time of the default method, for files of the same size
    return Picture(f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}", *picture.size, alt, caption)


def _shrunk(image: Image.Image, max_pixels: int) -> Image.Image:
    width, height = image.size
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5, MAX_SIDE / max(width, height))
    return image if scale == 1.0 else image.resize((max(1, round(width * scale)), max(1, round(height * scale))), resample=1)  # Lanczos
