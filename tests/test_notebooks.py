"""The notebooks are their texts, executed: in step, small, free of this machine, and they run from a clean copy of the repository."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import jupytext
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
TEXTS = sorted(FOLDER.glob("*.py"))
MAX_BYTES = 400_000
MACHINE = re.compile(r"(?<![\w.])/(home|root|Users|tmp|work|usr|opt|var)/\w|\d+\.\d+\.\d+\.\d+|https?://(?!(arxiv|doi|github)\.)")
MAX_SECONDS = 240  # two minutes on an idle machine of two cores; tests share theirs


def code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def shows_something(source: str) -> bool:
    """Tell whether a cell ends with a value or prints."""
    body = ast.parse(source).body
    last = body[-1] if body else None
    value = isinstance(last, ast.Expr) and not isinstance(last.value, ast.Constant)
    return value or any(isinstance(node, ast.Call) and ast.unparse(node.func) == "print" for line in body for node in ast.walk(line))


@pytest.fixture(params=TEXTS, ids=lambda path: path.stem)
def text(request) -> Path:
    return request.param


@pytest.fixture
def notebook(text) -> dict:
    return json.loads(text.with_suffix(".ipynb").read_text(encoding="utf-8"))


def test_every_notebook_has_its_text():
    assert TEXTS
    assert [path.stem for path in TEXTS] == sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def test_it_is_its_text(text, notebook):
    """Who changed the text ran `python scripts/notebooks.py` afterwards."""
    written = [(cell.cell_type, cell.source) for cell in jupytext.read(text).cells]
    assert [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]] == written


def test_every_cell_ran_in_order_and_shows_what_it_should(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        source = "".join(cell["source"])
        assert cell["outputs"] or not shows_something(source), source
        for output in cell["outputs"]:
            assert output["output_type"] in ("execute_result", "display_data", "stream"), source
            assert output.get("name") != "stderr", "".join(output["text"])


def test_its_pictures_can_be_decoded(notebook):
    shown = [output["data"] for cell in code_cells(notebook) for output in cell["outputs"] if "data" in output]
    kinds = [(kind, content) for data in shown for kind, content in data.items() if kind.startswith("image/")]
    assert kinds
    for kind, content in kinds:
        picture = Image.open(BytesIO(b64decode("".join(content))))
        assert picture.format == kind.removeprefix("image/").upper()
        assert any(low < high for low, high in picture.convert("RGB").getextrema()), "one colour"


def test_it_is_small_and_free_of_its_machine(text, notebook):
    assert text.with_suffix(".ipynb").stat().st_size <= MAX_BYTES
    assert set(notebook["metadata"]) == {"jupytext", "kernelspec"}
    assert notebook["metadata"]["kernelspec"] == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert {key for cell in notebook["cells"] for key in cell["metadata"]} == set()
    words = ["".join(cell["source"]) for cell in notebook["cells"]]
    for cell in code_cells(notebook):
        words += ["".join(output.get("text", output.get("data", {}).get("text/plain", []))) for output in cell["outputs"]]
    assert not [found.group(0) for word in words if (found := MACHINE.search(word))]


def test_it_tells_a_story_and_has_sliders(notebook):
    first, last = notebook["cells"][0], notebook["cells"][-1]
    assert first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")
    assert last["cell_type"] == "markdown"
    sources = ["".join(cell["source"]) for cell in code_cells(notebook)]
    sliders = [source for source in sources if "interact(show" in source]
    assert len(sliders) == 1 and "suppress(ImportError)" in sliders[0]
    assert [source for source in sources if "def show(" in source and source.count("show(") > 1], "called plainly, too"


def test_its_text_begins_with_a_docstring(text):
    assert ast.get_docstring(ast.parse(text.read_text(encoding="utf-8")))


def test_its_links_lead_somewhere(notebook):
    words = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", words) if "://" not in link]
    assert [link for link in links if not (FOLDER / link).exists()] == []


@pytest.fixture(scope="session")
def clean_copy(repository, tmp_path_factory) -> Path:
    """Copy the files that git keeps, so that nothing else is at hand."""
    if not (repository / ".git").exists():
        pytest.skip("not a checkout, so nobody says which files belong to the repository")
    folder = tmp_path_factory.mktemp("clean")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(repository / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(2 * MAX_SECONDS)
def test_it_executes_from_a_clean_copy(text, clean_copy):
    before = {path: path.read_bytes() for path in (clean_copy / "docs").rglob("*") if path.is_file()}
    command = [sys.executable, str(clean_copy / "scripts" / "notebooks.py"), text.stem, "--check"]
    done = subprocess.run(command, cwd=clean_copy, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    print(done.stdout)
    name, seconds = re.fullmatch(r"(\w+): (\d+) s", done.stdout.strip()).groups()
    assert (name, int(seconds) <= MAX_SECONDS) == (text.stem, True), done.stdout
    after = {path: path.read_bytes() for path in (clean_copy / "docs").rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert after == before, "a notebook leaves files behind"


@pytest.mark.slow
@pytest.mark.timeout(2 * MAX_SECONDS)
def test_it_is_plain_python_too(text, clean_copy, tmp_path):
    """Without IPython, ipywidgets and a display the same text runs as a program."""
    for name in ("IPython", "ipywidgets"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")
    run_as_program(clean_copy / "docs" / "notebooks" / text.name, tmp_path, clean_copy)


@pytest.mark.slow
@pytest.mark.timeout(2 * MAX_SECONDS)
def test_every_slider_goes_from_end_to_end(text, clean_copy, tmp_path):
    """What a widget's function raises is shown inside the widget, so a notebook executes although its sliders fail."""
    (tmp_path / "ipywidgets.py").write_text(END_TO_END)
    assert run_as_program(clean_copy / "docs" / "notebooks" / text.name, tmp_path, clean_copy).endswith("all painted\n")


END_TO_END = """
from itertools import product

def interact(show, **sliders):
    ends = [choice if isinstance(choice, list) else choice[:2] for choice in sliders.values()]
    assert ends and all(show(**dict(zip(sliders, chosen))) is not None for chosen in product(*ends))
    print("all painted")
"""


def run_as_program(script: Path, *paths: Path) -> str:
    """Run a notebook's text where Jupyter would, with packages of these folders before others, and return what it prints."""
    known = {**environment(), "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run([sys.executable, script.name], cwd=script.parent, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def environment() -> dict[str, str]:
    """Return what this process knows, but where the checkout and the display are."""
    return {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "DISPLAY")}
