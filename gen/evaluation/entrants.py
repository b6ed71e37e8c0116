"""Entrants: which methods the benchmark compares, read from a JSON file and loaded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gen.artefact import ArtefactError, verify_folder
from gen.evaluation.baselines import CopyPaste, GlobalLatent, SuperpixelElements
from gen.evaluation.benchmark import SHIPPED
from gen.evaluation.cases import OPERATIONS, Cases
from gen.evaluation.methods import ChainedEdits, Edited, Method, PipelineMethod
from gen.models.pipeline import RegionPipeline, shipped_folder

_KINDS: dict[str, Any] = {
    "pipeline": PipelineMethod,
    "chained": ChainedEdits,
    "superpixels": SuperpixelElements,
    "global_latent": GlobalLatent,
    "copy_paste": CopyPaste,
}
_WITHOUT_FOLDERS = ("copy_paste",)


@dataclass(frozen=True)
class Entrant:
    """One method of the tables.

    Attributes:
        name: in the tables.
        kind: one of pipeline, chained, superpixels, global_latent, copy_paste.
        folders: pipeline folders of its trained copies, one a training seed; `SHIPPED` stands for
            the weights that come with the package.
        cannot: operations that it is not asked for, since nothing in its training prepares it for them; a dash in the tables.
    """

    name: str
    kind: str
    folders: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"method {self.name!r} has the unknown kind {self.kind!r}; choose one of {', '.join(_KINDS)}")
        if "@" in self.name:
            raise ValueError(f"method {self.name!r}: the part after @ is the copy's number, which the benchmark writes; leave it out")
        if bool(self.folders) == (self.kind in _WITHOUT_FOLDERS):
            raise ValueError(f"method {self.name!r} of kind {self.kind!r} has {len(self.folders)} folders; {_asked(self.kind)}")
        for operation in self.cannot:
            if operation not in OPERATIONS:
                raise ValueError(f"method {self.name!r} cannot do the unknown operation {operation!r}; choose from {', '.join(OPERATIONS)}")

    def paths(self) -> list[Path]:
        """Return the folders of its copies."""
        return [shipped_folder() if folder == SHIPPED else Path(folder) for folder in self.folders]

    def limited(self, method: Method) -> Method:
        """Return the method without the operations that it cannot do."""
        return Limited(method, self.cannot) if self.cannot else method


@dataclass(frozen=True)
class Limited:
    """A method that is not asked for some operations.

    Attributes:
        method: that does the others.
        cannot: operations that are answered with None.
    """

    method: Method
    cannot: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the method's own name."""
        return self.method.name

    @property
    def pipeline(self) -> RegionPipeline | None:
        """Return the method's pipeline, if it has one."""
        return getattr(self.method, "pipeline", None)

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Edit every case as the method does, or return None."""
        return None if cases.operation in self.cannot else self.method(cases, seed)


def _asked(kind: str) -> str:
    return "it is not trained, so leave them out" if kind in _WITHOUT_FOLDERS else "give one for each trained copy"


def read_entrants(path: Path) -> list[Entrant]:
    """Read a list of methods, {"name": ..., "kind": ..., "folders": [...]} each, and check that every folder is there and whole.

    A key "cannot" may list operations that a method is not asked for.

    Raises:
        ValueError: if the file is no such list, or names a kind, a key or an operation that is unknown, or one name twice.
        ArtefactError: if a folder is missing or damaged; before anything is loaded.
    """
    try:
        listed = json.loads(path.read_text())
        entrants = [Entrant(**(entry | {key: tuple(entry.get(key, ())) for key in ("folders", "cannot")})) for entry in listed]
    except (OSError, json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f'{path}: holds no list of {{"name", "kind", "folders"}} ({error})') from error
    names = [entrant.name for entrant in entrants]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{path}: method {name!r} is listed {names.count(name)} times; copies are the folders of one entry")
    for entrant in entrants:
        for folder in entrant.paths():
            if not folder.is_dir():
                raise ArtefactError(f"{folder}: pipeline folder of method {entrant.name!r} is missing; train it first")
            verify_folder(folder)
    return entrants


def load_methods(
    entrants: list[Entrant], num_inference_steps: int = 4, device: torch.device | str = "cpu"
) -> tuple[list[Method], dict[str, int]]:
    """Load every copy of every method; a second copy of a method and those after it make all its names `name@number`.

    Args:
        entrants: what `read_entrants` returned.
        num_inference_steps: of every pipeline.
        device: where the pipelines run.

    Returns:
        The methods, and for each name without number how many parameters it has.

    Raises:
        ValueError: if pipelines work at different resolutions.
    """
    methods: list[Method] = []
    parameters: dict[str, int] = {}
    resolutions: dict[str, int] = {}
    for entrant in entrants:
        if not entrant.folders:
            methods.append(entrant.limited(_KINDS[entrant.kind](entrant.name)))
        for number, folder in enumerate(entrant.paths()):
            name = entrant.name if len(entrant.folders) == 1 else f"{entrant.name}@{number}"
            pipeline = RegionPipeline.from_pretrained(folder, device=device)
            methods.append(entrant.limited(_KINDS[entrant.kind](name, pipeline, num_inference_steps)))
            parameters[entrant.name] = num_parameters(pipeline)
            resolutions[name] = pipeline.resolution
    if len(set(resolutions.values())) > 1:
        listed = ", ".join(f"{name} {side}" for name, side in resolutions.items())
        raise ValueError(f"pipelines work at different resolutions [px]: {listed}; compare those of one")
    return methods, parameters


def num_parameters(pipeline: RegionPipeline) -> int:
    """Count the numbers that a pipeline's networks hold."""
    return sum(parameter.numel() for part in pipeline.modules() for parameter in part.parameters())
