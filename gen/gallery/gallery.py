"""Gallery: panels of any pictures, painted by any pipeline, as a folder of sheets with one page of figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tqdm import tqdm

from gen.editing.latent_image import LatentImage
from gen.gallery.interpolation import another_frame
from gen.gallery.panel import Panel, Sampling
from gen.gallery.previews import PanelName, draw_panel
from gen.segmentation.named import SEGMENTERS
from image_utils.io import save_image, whole_or_not
from image_utils.video import save_video

if TYPE_CHECKING:
    from gen.models.pipeline import RegionPipeline

PAGE = "gallery.md"
FIGURES = "gallery.json"
FPS = 6
UNITS = {"db": "dB", "percent": "%", "grey_levels": "grey levels of 255"}  # as figures' names end, and as tables show them


def open_pictures(pipeline: RegionPipeline, paths: Sequence[Path], segmenter: str | None = None) -> dict[str, LatentImage]:
    """Open pictures, by their names without a suffix.

    Args:
        pipeline: the model.
        paths: of the pictures; label maps `NAME.mask.png` among them are no pictures, and left out.
        segmenter: one of `SEGMENTERS`, for all of them; None takes the masks beside the pictures, and else cuts by colour.

    Raises:
        ValueError: if there is no picture, two have one name, a file is missing or damaged, or a picture holds no object.
    """
    segment = None if segmenter is None else SEGMENTERS[segmenter](pipeline.num_regions - 1)
    pictures: dict[str, LatentImage] = {}
    for path in paths:
        if path.name.endswith(".mask.png"):
            continue
        if path.stem in pictures:
            raise ValueError(f"{path}: another picture is named {path.stem} as well, and their sheets would be one file; rename one")
        pictures[path.stem] = LatentImage.open(pipeline, path, segment)
        if not pictures[path.stem].objects:
            raise ValueError(f"{path}: no object was found; give a label map {path.stem}.mask.png beside it, or another segmenter")
    if not pictures:
        raise ValueError(f"{', '.join(map(str, paths))}: these are label maps of pictures, and no picture; give the pictures themselves")
    return pictures


def draw(
    pictures: dict[str, LatentImage], panels: Sequence[PanelName], sampling: Sampling, later: LatentImage | None = None
) -> Iterator[tuple[str, PanelName, Panel]]:
    """Draw every panel of every picture, with a progress bar; yields (picture's name, panel's name, panel) as each is done.

    Args:
        pictures: by name.
        panels: of each.
        sampling: how they are painted.
        later: another frame of the pictures: the panel `interpolation` goes there instead of to another object's look.
    """
    wanted = [(name, panel) for name in pictures for panel in panels]
    for name, panel in (bar := tqdm(wanted, unit="panel")):
        bar.set_postfix_str(f"{name}: {panel}")
        if panel == "interpolation" and later is not None:
            yield name, panel, another_frame(pictures[name], later, sampling)
        else:
            yield name, panel, draw_panel(panel, pictures[name], sampling)


def files_of(folder: Path, name: str, panel: str) -> tuple[Path, Path]:
    """Return where the sheet of a panel and its animation go."""
    return folder / f"{name}_{panel}.png", folder / f"{name}_{panel}.gif"


def refuse_existing(folder: Path, names: Sequence[str], panels: Sequence[PanelName]) -> None:
    """Refuse a folder that holds a file which the gallery would write.

    Raises:
        ValueError: naming the first such file.
    """
    files = [folder / PAGE, folder / FIGURES, *(path for name in names for panel in panels for path in files_of(folder, name, panel))]
    for path in files:
        if path.exists():
            raise ValueError(f"{path} exists; give another --out, or --overwrite to replace the gallery")


def write(folder: Path, drawn: Iterator[tuple[str, PanelName, Panel]], facts: dict[str, str]) -> dict[str, dict[str, Panel]]:
    """Write sheets and animations as they are drawn, then gallery.md and gallery.json.

    Args:
        folder: is made if it is not there.
        drawn: what `draw` yields.
        facts: how the gallery was made, for the page: command, pipeline, machine, date.

    Returns:
        The panels, by picture and panel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done: dict[str, dict[str, Panel]] = {}
    for name, panel_name, panel in drawn:
        sheet, animation = files_of(folder, name, panel_name)
        save_image(panel.image, sheet)
        if panel.frames:
            save_video(panel.frames, animation, FPS)
        done.setdefault(name, {})[panel_name] = panel
    values = {
        name: {key: {"figures": _known(panel.figures), "table": [_known(row) for row in panel.table]} for key, panel in panels.items()}
        for name, panels in done.items()
    }
    with whole_or_not(folder / FIGURES) as path:
        path.write_text(json.dumps({"facts": facts, "pictures": values}, indent=1, allow_nan=False) + "\n")
    with whole_or_not(folder / PAGE) as path:
        path.write_text(page(done, facts))
    return done


def page(done: dict[str, dict[str, Panel]], facts: dict[str, str]) -> str:
    """Return the gallery as Markdown: every sheet with its figures under it."""
    lines = ["# Gallery", "", *(f"- {name}: {value}" for name, value in facts.items())]
    for name, panels in done.items():
        lines += ["", f"## {name}"]
        for panel_name, panel in panels.items():
            sheet, animation = files_of(Path(), name, panel_name)
            lines += ["", f"### {title(panel_name)}", "", f"![{title(panel_name)} of {name}]({quote(str(sheet))})"]
            lines += [f"![{title(panel_name)} of {name}, animated]({quote(str(animation))})"] if panel.frames else []
            lines += ["", figures_table(panel)] if panel.figures or panel.table else []
    return "\n".join(lines) + "\n"


def title(name: str) -> str:
    """Return the name of a panel or a figure as words, with the unit that ends it in brackets."""
    unit = next((unit for unit in UNITS if name.endswith(f"_{unit}")), None)
    words = name.removesuffix(f"_{unit}").replace("_", " ").replace("psnr", "PSNR")
    return words if unit is None else f"{words} [{UNITS[unit]}]"


def figures_table(panel: Panel) -> str:
    """Return a panel's figures as a Markdown table: its rows if it has any, then its summary."""
    if not panel.table:
        return _table(["figure", "value"], [[title(name), _number(value)] for name, value in panel.figures.items()])
    rows = [[_number(value) for value in row.values()] for row in panel.table]
    summary = "; ".join(f"{title(name)} {_number(value)}" for name, value in panel.figures.items())
    return _table([title(name) for name in panel.table[0]], rows) + (f"\n\n{summary}" if summary else "")


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _known(figures: dict[str, float]) -> dict[str, float | None]:
    """Return figures as JSON has them: what could not be measured is null."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"
