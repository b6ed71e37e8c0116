"""The laws of the house: who may import whom, how long things get, what every file says at its door, what the README's tree shows."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("image_utils", "gen", "configs")
ENTRIES = ("train.py", "multirun.py", "launch_slurm.py")

# A room -> the rooms that it may import besides itself and the ground floor. The first fitting prefix counts.
GROUND = ("image_utils", "gen.regions", "gen.artefact", "gen.sections", "gen.run_files", "gen.pretrained_folder")
FRONT = ("gen.regions", "gen.models.pipeline", "gen.editing", "gen.gallery")  # what `from gen import ...` hands out
ROOMS = {
    "image_utils": (),
    "gen.regions": ("image_utils",),
    "gen.artefact": ("image_utils",),
    "gen.pretrained_folder": ("gen.artefact",),
    "gen.run_files": (),
    "gen.slurm_job": ("gen.run_files",),
    "gen.sections": (),
    "gen.losses": GROUND,
    "gen.scenes": GROUND,
    "gen.segmentation": GROUND,
    "gen.data": (*GROUND, "gen.segmentation", "gen.scenes"),
    "gen.models": (*GROUND, "gen.losses", "gen.data.batch"),
    "gen.training": (*GROUND, "gen.losses", "gen.data"),
    "gen.editing": (*GROUND, "gen.losses", "gen.segmentation", "gen.data", "gen.models"),
    "gen.evaluation": (*GROUND, "gen.losses", "gen.scenes", "gen.segmentation", "gen.data", "gen.models", "gen.editing"),
    "gen.gallery": (
        *GROUND,
        *(f"gen.{room}" for room in ("losses", "scenes", "segmentation", "data", "models", "editing", "evaluation")),
    ),
    "gen.report": ("image_utils", "gen.run_files"),  # a page of a run needs no model
    **{
        f"gen.{wing}": (
            *GROUND,
            *(
                f"gen.{room}"
                for room in ("losses", "scenes", "segmentation", "data", "models", "training", "editing", "evaluation", "gallery")
            ),
        )
        for wing in ("text_regions", "instruct", "studio")
    },
    "configs": ("image_utils", "gen"),
}
# The launchers answer at once and run on login nodes: they, and the files of the house that they use, know nothing heavy.
LAUNCHERS = ("multirun.py", "launch_slurm.py", "configs/sweep_grammar.py", "gen/run_files.py", "gen/slurm_job.py")
LAUNCHERS_MAY_IMPORT = ("hydra", "omegaconf", "submitit", "rich", "launch_slurm", "configs.sweep_grammar", "gen.run_files", "gen.slurm_job")
HYDRA = ("hydra", "hydra_zen", "omegaconf")
# `configs` is imported before `--help` can answer, so nothing that it reaches at import time may be heavy.
HEAVY = (
    "diffusers",
    "transformers",
    "matplotlib",
    "skimage",
    "scipy",
    "torchmetrics",
    "accelerate",
    "wandb",
    "tensorboard",
    "segment_anything",
    "av",
    "datasets",
    "pyarrow",
    "pycocotools",
)

MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_LOOP_LINES, MAX_SCRIPT_LINES = 400, 70, 120, 60
TRAINING_LOOP = ("gen/training/trainer.py", "fit")
FORBIDDEN_NAMES = ("utils", "util", "misc", "helper", "helpers", "common")


@dataclass(frozen=True)
class Import:
    """One name that a file imports, wherever in the file, and whether that happens as soon as the file is imported."""

    path: Path
    line: int
    name: str
    at_import: bool

    def __str__(self) -> str:
        return f"{relative(self.path)}:{self.line} imports {self.name}"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def source_files() -> list[Path]:
    entries = [ROOT / name for name in ENTRIES if (ROOT / name).exists()]
    return [*package_files(), *entries, *sorted((ROOT / "scripts").rglob("*.py"))]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports(path: Path) -> Iterator[Import]:
    """Yield every import of a file, those inside functions and importlib.import_module("literal") included."""

    def visit(node: ast.AST, at_import: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(path, node.lineno, alias.name, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{relative(path)}:{node.lineno} imports relatively; write the whole name"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield Import(path, node.lineno, whole if is_module(whole) else str(node.module), at_import)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield Import(path, node.lineno, str(node.args[0].value), at_import)
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, at_import and not later and not typing_only)

    yield from visit(parse(path), True)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def room_of(name: str) -> str | None:
    return next((room for room in ROOMS if within(name, (room,))), None)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_file_has_a_room():
    """A new folder needs its line in ROOMS, so that the law covers it."""
    homeless = [relative(path) for path in package_files() if module_name(path) != "gen" and room_of(module_name(path)) is None]
    assert not homeless


def test_rooms_import_only_what_they_may():
    breaches = []
    for path in package_files():
        room = room_of(module_name(path))
        allowed = FRONT if room is None else (room, *ROOMS[room])
        ours = [found for found in imports(path) if within(found.name, (*PACKAGES, "train", "multirun", "launch_slurm", "scripts"))]
        breaches += [str(found) for found in ours if not within(found.name, allowed)]
    assert not breaches


def test_nothing_in_gen_knows_the_configuration_library():
    files = [path for path in package_files() if not within(module_name(path), ("configs",))]
    assert not [str(found) for path in files for found in imports(path) if within(found.name, HYDRA)]


def test_launchers_need_neither_torch_nor_the_rest_of_the_house():
    allowed = (*LAUNCHERS_MAY_IMPORT, *sys.stdlib_module_names)
    launchers = [ROOT / name for name in LAUNCHERS if (ROOT / name).exists()]
    assert not [str(found) for path in launchers for found in imports(path) if not within(found.name, allowed)]
    packages = [found for name in ("configs", "gen") for found in imports(ROOT / name / "__init__.py") if found.at_import]
    assert not [str(found) for found in packages if not within(found.name, tuple(sys.stdlib_module_names))]


def test_importing_configs_imports_nothing_heavy():
    """Follow the imports that happen at import time from `configs` and train.py; packages' __init__ files are passed on the way."""
    waiting, seen, heavy = [ROOT / "train.py", *sorted((ROOT / "configs").rglob("*.py"))], set(), []
    if not waiting[0].exists():
        pytest.skip("no train.py yet")
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for found in imports(path):
            if not found.at_import:
                continue
            if within(found.name, HEAVY):
                heavy.append(str(found))
            if within(found.name, PACKAGES):
                parts = found.name.split(".")
                waiting += [ROOT.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
                waiting.append(ROOT.joinpath(*parts).with_suffix(".py"))
        waiting = [path for path in waiting if path.exists()]
    assert not heavy


def test_imported_libraries_are_declared():
    """What the packages import is a dependency or belongs to an extra; what tests alone use is in `dev`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(line for lines in project["optional-dependencies"].values() for line in lines)]
    distributions = {re.split(r"[<>=!~\[ ]", line)[0].lower().replace("-", "_") for line in declared}
    import_names = {"pillow": "PIL", "hydra_core": "hydra", "scikit_image": "skimage", "pyyaml": "yaml", "griffelib": "griffe"}
    known = {import_names.get(name, name) for name in distributions} | set(sys.stdlib_module_names) | {*PACKAGES, "train", "launch_slurm"}
    assert not [str(found) for path in source_files() for found in imports(path) if found.name.split(".")[0] not in known]


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_every_file_says_its_duty_at_the_door(path):
    sign = ast.get_docstring(parse(path))
    assert sign, "the first statement must be a docstring that says the file's one duty"
    first = sign.splitlines()[0]
    assert len(first) >= 15, f"says too little: {first!r}"
    assert first.endswith("."), f"the first line must be a whole sentence: {first!r}"


def test_files_and_functions_stay_short():
    too_long = []
    for path in source_files():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        bound = MAX_SCRIPT_LINES if path.parent.name == "scripts" else MAX_FILE_LINES
        if lines > bound:
            too_long.append(f"{relative(path)}: {lines} lines, at most {bound}")
        for function in functions(parse(path)):
            length = (function.end_lineno or 0) - function.lineno + 1
            bound = MAX_LOOP_LINES if (relative(path), function.name) == TRAINING_LOOP else MAX_FUNCTION_LINES
            if length > bound:
                too_long.append(f"{relative(path)}:{function.lineno} {function.name}: {length} lines, at most {bound}")
    assert not too_long


@pytest.mark.parametrize("path", package_files(), ids=relative)
def test_attributes_sections_name_the_fields(path):
    """A class that documents its attributes documents all public fields, in their order, and nothing else."""
    for node in ast.walk(parse(path)):
        text = ast.get_docstring(node) if isinstance(node, ast.ClassDef) else None
        if text is None or "Attributes:" not in text:
            continue
        section = re.split(r"\n\n|\n(?=\S)", text.split("Attributes:\n", 1)[1])[0]
        documented = re.findall(r"^ {4}(\w+)[^:\n]*:", section, re.MULTILINE)
        fields = [item.target.id for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
        public = [name for name in fields if not name.startswith("_") and name != "defaults"]  # Hydra's own list is no attribute
        assert documented == public, f"{relative(path)}:{node.lineno} {node.name}"


def test_no_room_for_odds_and_ends():
    files = [path for path in source_files() if FORBIDDEN_NAMES.count(path.stem)]
    folders = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_dir() and path.name in FORBIDDEN_NAMES]
    assert not [relative(path) for path in files + folders]


def test_code_law():
    """Annotations stay text, nothing is evaluated or unpickled, no failure is swallowed, no star import."""
    breaches = []
    for path in source_files():
        tree = parse(path)
        futures = {
            alias.name for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__" for alias in node.names
        }
        if "annotations" not in futures and path.name != "__init__.py":
            breaches.append(f"{relative(path)}: no `from __future__ import annotations`")
        for node in ast.walk(tree):
            where = f"{relative(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                breaches.append(f"{where}: bare except")
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                breaches.append(f"{where}: star import")
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("eval", "exec", "pickle.load", "pickle.loads", "torch.load"):
                breaches.append(f"{where}: {ast.unparse(node.func)}")
            if isinstance(node, ast.Import | ast.ImportFrom) and any(within(name, ("pickle", "unittest.mock")) for name in imported(node)):
                breaches.append(f"{where}: {', '.join(imported(node))}")
    assert not breaches


def imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [str(node.module)] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def test_no_machine_path_in_the_repository():
    home = re.compile(r"/(home|Users|root)/\w")
    assert not [relative(path) for path in source_files() if home.search(path.read_text(encoding="utf-8"))]


def readme_tree() -> dict[str, str]:
    """Read the annotated tree of the README: path -> what it says about it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- tree -->\s*```text\n(.*?)```", text, re.DOTALL)
    assert block, "README.md has no block after <!-- tree -->"
    entries: dict[str, str] = {}
    folders: list[str] = []
    for line in block.group(1).splitlines():
        name, _, words = line.strip().partition(" ")
        if not name:
            continue
        depth = (len(line) - len(line.lstrip())) // 2
        entries["".join([*folders[:depth], name])] = words.strip()
        if name.endswith("/"):
            folders[depth:] = [name]
    return entries


def test_readme_tree_shows_every_file():
    """Every .py file and script is in the tree but the packages' __init__ files; tests are shown as folders."""
    shown = {path for path in readme_tree() if not path.endswith("/")}
    there = {relative(path) for path in source_files() if path.name != "__init__.py"}
    there |= {relative(path) for path in (ROOT / "scripts").iterdir() if path.is_file()}
    assert sorted(there - shown) == [], "files that README's tree does not show"


def test_readme_tree_shows_only_what_exists():
    missing = [path for path in readme_tree() if not (ROOT / path).exists()]
    assert missing == [], "README's tree shows what does not exist"


def test_readme_tree_is_brief():
    assert not {path: words for path, words in readme_tree().items() if not 1 <= len(words.split()) <= 10}
