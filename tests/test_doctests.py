"""The examples in the docstrings run as a reader would type them, after the lines that gen/__init__.py begins with."""

from __future__ import annotations

import doctest
import importlib
import re
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image

import gen
from gen import LatentImage, RegionPipeline, edits

ROOT = Path(__file__).parents[1]
FILES = sorted(path for package in ("gen", "image_utils") for path in (ROOT / package).rglob("*.py") if ">>>" in path.read_text("utf-8"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.fixture(scope="module")
def known() -> dict[str, object]:
    """Return the names that the reference page says its examples know."""
    pipeline = RegionPipeline.from_pretrained()
    picture = LatentImage.open(pipeline, ROOT / "docs" / "examples" / "table.png")
    public = {name: getattr(gen, name) for name in gen.__all__}
    return {**public, "torch": torch, "edits": edits, "pipeline": pipeline, "picture": picture, "latents": picture.latents}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """Be in a folder of one's own that has the example pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    return tmp_path


@pytest.mark.parametrize("path", FILES, ids=module_name)
@pytest.mark.usefixtures("workplace")
def test_the_examples_of_a_file_run(path, known):
    module = importlib.import_module(module_name(path))
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    failures: list[str] = []
    for example in finder.find(module, globs={} if module is gen else dict(known)):
        runner.run(example, out=failures.append)
    assert runner.tries > 0 and not failures, "".join(failures)


def test_every_edit_has_an_example():
    functions = [getattr(edits, name) for name in edits.__all__ if name[0].islower()]
    assert [function.__name__ for function in functions if ">>>" not in (function.__doc__ or "")] == ["edit_image", "edit_pixels"]


def test_the_cheat_sheet_runs_as_it_stands(workplace, capsys):
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    (workplace / "sheet.py").write_text(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1), encoding="utf-8")
    names = runpy.run_path(str(workplace / "sheet.py"))
    assert capsys.readouterr().out == "[1, 2, 3, 4]\n"
    assert names["picture"].paint(names["edited"]).tobytes() == Image.open("edited.png").tobytes()
