"""The README's commands are executed as they stand there, at toy size; its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

import gen
from gen.gallery import PANELS

README = Path(__file__).parents[1] / "README.md"
EXECUTED = re.compile(r"<!-- executed -->\s*```(bash|python)\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def executed_blocks() -> list[tuple[str, str]]:
    """Return (language, text) of the blocks that stand below `<!-- executed -->`."""
    return EXECUTED.findall(README.read_text(encoding="utf-8"))


def at_toy_size(block: str) -> str:
    """Add `+mode=tiny` to the trainings that have no mode; everything else stays as a reader would type it."""
    commands = re.split(r"(?<!\\)\n", block)
    return "\n".join(f"{line} +mode=tiny" if "train.py +experiment" in line and "mode=" not in line else line for line in commands)


def workplace(folder: Path, repository: Path, photographs: dict[str, Image.Image]) -> Path:
    """Make a folder that looks like the repository's root to the commands, with the pictures that they name."""
    for name in ("train.py", "multirun.py", "scripts"):
        (folder / name).symlink_to(repository / name)
    (folder / "docs").mkdir()
    (folder / "docs" / "examples").symlink_to(repository / "docs" / "examples")
    (folder / "data").mkdir()
    photographs["chelsea"].resize((96, 64)).save(folder / "data" / "conditioning_image_1.png")
    photographs["coffee"].resize((64, 96)).save(folder / "data" / "conditioning_image_2.png")
    picture = Image.new("RGB", (150, 100), (130, 130, 140))
    pen = ImageDraw.Draw(picture)
    for colour, x, y, radius in (("red", 40, 50, 28), ("blue", 95, 65, 20), ("yellow", 130, 30, 14)):  # regions 1, 2, 3: the largest first
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    picture.save(folder / "photo.png")
    return folder


@pytest.mark.timeout(300)
def test_commands_run_in_the_order_of_the_readme(tmp_path, repository, photographs):
    folder = workplace(tmp_path, repository, photographs)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(repository)
    for language, block in executed_blocks():
        script = at_toy_size(block) if language == "bash" else block
        command = ["bash", "-euo", "pipefail", "-c"] if language == "bash" else [sys.executable, "-c"]
        done = subprocess.run([*command, script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"failed:\n{script}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        for name in re.findall(r"--out (\S+)|\.save\(\"(\S+)\"\)", script):
            assert (folder / "".join(name)).exists(), f"{name} was not written by:\n{script}"
    for run in ("tiny", "example_exp_name"):
        assert (folder / "outputs" / run / "pipeline" / "model_index.json").exists()


def test_the_main_commands_are_among_those_executed():
    blocks = "\n".join(text for _, text in executed_blocks())
    for command in ("+experiment=demo_exp +mode=tiny", "accelerate.commands.launch", "scripts/edit.py", "--plan"):
        assert command in blocks


def test_five_lines_of_python_move_an_object():
    """The example at the front door, as gen/__init__.py has it, is among what is executed."""
    lines = re.findall(r"^ +>>> (.*)$", gen.__doc__, re.MULTILINE)
    assert len(lines) == 5
    assert [line for line in "\n".join(text for language, text in executed_blocks() if language == "python").splitlines() if line] == lines


def test_links_lead_to_files_of_the_repository(repository):
    links = [link for link in LINK.findall(README.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (repository / link).exists()] == []


def test_bash_blocks_name_files_that_exist(repository):
    """Commands too long to execute here must at least start something that is there."""
    for block in re.findall(r"```bash\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for name in re.findall(r"(?:^|\s)((?:scripts/)\w+(?:\.\w+)?|train\.py)\b", block):
            assert (repository / name).exists(), f"README runs {name}"


def rows_of(text: str) -> list[list[str]]:
    """Return the cells of the first Markdown table in a text, without its rule."""
    lines = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE).group(0).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not set(line) <= set("|- ")]


def test_the_figures_are_the_benchmarks(repository):
    """Every cell of the README's table stands in the same column and row of the table that scripts/benchmark.py wrote."""
    shown = rows_of(README.read_text(encoding="utf-8").split("<!-- benchmark -->")[1])
    header, *rows = rows_of((repository / "docs" / "results" / "benchmark" / "benchmark.md").read_text(encoding="utf-8"))
    measured = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert {"ours", "shipped", "token-only", "channel concatenation", "copy-paste"} <= {row[0] for row in shown}
    for row in shown[1:]:
        assert [measured[row[0]][column] for column in shown[0]] == row


def test_the_galleries_figures_are_those_of_the_gallery(repository):
    panels = json.loads((repository / "docs" / "gallery" / "gallery.json").read_text())["pictures"]["table"]
    sweep = panels["position_sweep"]["figures"]
    text = " ".join(README.read_text(encoding="utf-8").split())
    assert f"the object's centroid is {sweep['centroid_error_percent']:.1f} % of the picture's side off on average" in text
    assert f"these pixels have {sweep['psnr_elsewhere_db']:.1f} dB" in text
    assert sweep["change_elsewhere_composited_grey_levels"] == 0 and len(panels["position_sweep"]["table"]) == 13
    documented = re.findall(r"^\| `(\w+)` \| [A-Za-z]", text_of_panels(), re.MULTILINE)
    assert documented == list(PANELS) == list(panels)


def text_of_panels() -> str:
    return README.read_text(encoding="utf-8").split("| panel | shows |")[1].split("\n\n")[0]
