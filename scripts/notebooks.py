"""Execute the notebooks: docs/notebooks/NAME.py is their text, NAME.ipynb the same with what it shows, each time the same.

python scripts/notebooks.py [4_interpolate ...] [--check]    # all of them if none is named; --check writes nothing
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

try:
    import jupytext
    from jupyter_client.manager import KernelManager
    from nbclient.client import NotebookClient, NotebookNode
except ImportError as error:
    sys.exit(f"{error}; what notebooks need comes with: pip install -c constraints.txt -e '.[notebooks]'")

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def executed(path: Path) -> NotebookNode:
    """Run a notebook's text in a kernel of its own and return it with its outputs."""
    notebook = jupytext.read(path)
    metadata = dict(notebook.metadata)  # before the run adds the version of Python and the state of widgets
    # The blocking client: the asynchronous one misses a reply now and then, and sleeps until the cell's time is over.
    how = {"kernel_manager_class": KernelManager, "record_timing": False, "coalesce_streams": True, "timeout": 600}
    client = NotebookClient(notebook, resources={"metadata": {"path": FOLDER}}, **how)
    client.extra_arguments = ["--log-level=CRITICAL", "--HistoryManager.hist_file=:memory:"]  # no warnings, no shared history
    client.execute(env={**os.environ, "PYTHONPATH": str(FOLDER.parents[1]), "TQDM_DISABLE": "1"})
    notebook.metadata = metadata
    for number, cell in enumerate(notebook.cells, 1):
        cell.update(id=f"cell-{number}", metadata={})  # jupytext would keep count of blank lines
        for output in list(cell.get("outputs", [])):
            data = output.get("data", {})
            data.pop("image/jpeg", None)  # Pillow gives every picture twice
            if "application/vnd.jupyter.widget-view+json" in data:  # nothing without the kernel that made it
                cell.outputs.remove(output)
    return notebook


def main(arguments: list[str] | None = None) -> None:
    """Execute the notebooks and say how long each took; the first that fails ends it with its traceback."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="(default: all)")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    for path in [FOLDER / f"{name}.py" for name in options.names] or sorted(FOLDER.glob("*.py")):
        if not path.exists():
            parser.error(f"there is no notebook {path}; choose from {', '.join(sorted(path.stem for path in FOLDER.glob('*.py')))}")
        start, notebook = time.monotonic(), executed(path)
        print(f"{path.stem}: {time.monotonic() - start:.0f} s", flush=True)
        if not options.check:
            jupytext.write(notebook, path.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
