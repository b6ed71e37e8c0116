"""The benchmark: run methods on the same held-out scenes and keep every scene's figures."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from gen.evaluation.cases import HELD_OUT_SEED, OPERATIONS, SPLITS, Cases, build_cases
from gen.evaluation.methods import Edited, Method
from gen.evaluation.oracle import Oracle
from gen.evaluation.scores import attribute, monotone, score

SHIPPED = "shipped"  # the method that is the weights of the package
TRUTH, UNEDITED = "on true renders", "unedited"  # the instruments' ceiling and floor, in every table
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of an interpolation; its other figures are those of the middle one
_DIGITS = 4  # of a stored value
_PICTURES = 8  # scenes of every operation whose pictures are kept
_OF_ONE_RUN = ("hardware", "date", "sampling seeds")  # facts that another run of the same benchmark may not share

Values = dict[str, Float[Tensor, " b"]]


@dataclass(frozen=True)
class Reference:
    """The true pictures, or the unedited ones, handed in as if a method had painted them."""

    name: str

    def __call__(self, cases: Cases, seed: int) -> Edited | None:
        """Return the same pictures as raw and as composited ones; None where the unedited picture is the true one."""
        if self.name == UNEDITED and cases.operation in ("reconstruct", "no_op"):
            return None
        pictures = cases.truth if self.name == TRUTH else cases.source
        return Edited(pictures, pictures)


@dataclass(frozen=True)
class Results:
    """The figures of every scene, and how they were made.

    Attributes:
        facts: scenes, seeds, the methods' names in order, hardware, date, and what else the caller adds.
        values: split -> operation -> method -> sampling seed -> figure -> one value a scene, NaN where a scene has none.
        pictures: operation -> "source", "truth" or method -> the composited pictures of the first split's first scenes; not in the JSON.
    """

    facts: dict[str, Any]
    values: dict[str, dict[str, dict[str, dict[int, Values]]]]
    pictures: dict[str, dict[str, Float[Tensor, "k 3 h w"]]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write facts and values as JSON; a value that a scene does not have is null."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"facts": self.facts, "values": _mapped(self.values, _written)}, separators=(",", ":")) + "\n")

    @staticmethod
    def load(path: Path) -> Results:
        """Read what `save` wrote, without pictures.

        Raises:
            ValueError: if the file cannot be read or holds something else.
        """
        try:
            stored = json.loads(path.read_text())
            values = {
                split: {
                    operation: {
                        method: {int(seed): {name: _read(numbers) for name, numbers in figures.items()} for seed, figures in seeds.items()}
                        for method, seeds in methods.items()
                    }
                    for operation, methods in operations.items()
                }
                for split, operations in stored["values"].items()
            }
            return Results(stored["facts"], values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: holds no results of the benchmark ({error}); write them with Results.save") from error

    def joined(self, other: Results) -> Results:
        """Return these results and another run's: other methods, operations or splits on the same scenes.

        Splits and operations come in the order of `SPLITS` and `OPERATIONS`, the methods of these results before those of the other.
        Where the runs were made on other machines, days or sampling seeds, the facts tell both.

        Raises:
            ValueError: if the runs differ in their scenes, or both hold the same method's same figures.
        """
        for fact in ("scenes", "resolution", "scene seed", "denoising steps"):
            if self.facts.get(fact) != other.facts.get(fact):
                raise ValueError(f"{fact} is {self.facts.get(fact)} in one run and {other.facts.get(fact)} in another; join equal runs")
        values = {split: {operation: dict(methods) for operation, methods in found.items()} for split, found in self.values.items()}
        for split, operations in other.values.items():
            for operation, methods in operations.items():
                known = values.setdefault(split, {}).setdefault(operation, {})
                twice = set(known) & set(methods) - {TRUTH, UNEDITED}
                if twice:
                    raise ValueError(f"{', '.join(sorted(twice))}: {operation} of {split} is in both runs; leave one of them out")
                known |= methods
        values = {split: _ordered(values[split], OPERATIONS) for split in _ordered(values, SPLITS)}
        facts = {name: _both(self.facts[name], other.facts.get(name)) for name in _OF_ONE_RUN if name in self.facts}
        facts["minutes"] = round(self.facts.get("minutes", 0) + other.facts.get("minutes", 0), 1)
        facts["parameters"] = self.facts.get("parameters", {}) | other.facts.get("parameters", {})
        facts["methods"] = list(dict.fromkeys([*self._order(), *other._order()]))
        shown = self if next(iter(values), "") in self.values else other
        return Results(self.facts | facts, values, shown.pictures)

    def copies(self, split: str, operation: str, group: str) -> list[str]:
        """Return the names of a method's trained copies that did an operation."""
        return [name for name in self.values.get(split, {}).get(operation, {}) if group_of(name) == group]

    def groups(self) -> list[str]:
        """Return the names without training seeds of the methods that did anything, in the order given; the two references come last."""
        found = self._found()
        return [*(name for name in self._order() if name in found), TRUTH, UNEDITED]

    def _found(self) -> list[str]:
        names = [group_of(name) for operations in self.values.values() for methods in operations.values() for name in methods]
        return [name for name in dict.fromkeys(names) if name not in (TRUTH, UNEDITED)]

    def _order(self) -> list[str]:
        return list(dict.fromkeys([*self.facts.get("methods", []), *self._found()]))


def group_of(name: str) -> str:
    """Return a method's name without its training seed: `ours@2` is a copy of `ours`."""
    return name.split("@")[0]


def run(
    methods: Sequence[Method],
    operations: Sequence[str],
    splits: Sequence[str],
    count: int,
    sampling_seeds: Sequence[int] = (0,),
    oracle: Oracle | None = None,
    resolution: int = 64,
    num_regions: int = 6,
    scene_seed: int = HELD_OUT_SEED,
) -> Results:
    """Let every method make the same edits of the same held-out scenes, and score them.

    Args:
        methods: copies of one method that differ in their training seed are named `name@seed`.
        operations: of `gen.evaluation.cases.OPERATIONS`.
        splits: presets of scenes.
        count: scenes of every operation and split.
        sampling_seeds: all methods use the first; the others tell the noise floor, of the first method and of the shipped one.
        oracle: of the figures that need one; None leaves them out.
        resolution: of the pictures, in pixels.
        num_regions: n, background included, with room for an inserted object.
        scene_seed: of the scenes.

    Raises:
        ValueError: if two methods have one name, or there is no sampling seed.
    """
    if not sampling_seeds:
        raise ValueError("sampling_seeds is empty; give at least one")
    names = [method.name for method in methods]
    if len(set(names)) < len(names) or {TRUTH, UNEDITED} & set(names):
        raise ValueError(f"methods are named {', '.join(names)}; every name may be used once, {TRUTH!r} and {UNEDITED!r} not at all")
    order = list(dict.fromkeys(map(group_of, names)))
    facts = {"scenes": count, "resolution": resolution, "sampling seeds": list(sampling_seeds), "scene seed": scene_seed, "methods": order}
    results = Results(facts, {})
    repeated = {name for number, name in enumerate(names) if number == 0 or name == SHIPPED}
    runs = len(methods) + len(repeated) * (len(sampling_seeds) - 1)
    with tqdm(total=len(splits) * len(operations) * runs, desc="benchmark", unit="run") as bar:
        for split in splits:
            for operation in operations:
                weights = WEIGHTS if operation.startswith("interpolate") else (0.5,)
                cases = [build_cases(operation, count, resolution, num_regions, split, scene_seed, weight) for weight in weights]
                first = split == splits[0]
                pictures = {"source": cases[0].source[:_PICTURES], "truth": cases[len(cases) // 2].truth[:_PICTURES]}
                done: dict[str, dict[int, Values]] = {}
                for method in [*methods, Reference(TRUTH), Reference(UNEDITED)]:
                    for seed in sampling_seeds if method.name in repeated else sampling_seeds[:1]:
                        bar.set_postfix_str(f"{split} {operation} {method.name}", refresh=False)
                        figures, shown = _scored(method, cases, seed, oracle)
                        if figures is not None and shown is not None:
                            done.setdefault(method.name, {})[seed] = figures
                            pictures.setdefault(method.name, shown.composited[:_PICTURES])
                        bar.update(method.name in names)
                results.values.setdefault(split, {})[operation] = done
                if first:
                    results.pictures[operation] = pictures
    return results


def _scored(method: Method, cases: list[Cases], seed: int, oracle: Oracle | None) -> tuple[Values | None, Edited | None]:
    """Return figures and pictures of one method, of the middle weight where there are several; None if it cannot do the operation."""
    edited = [method(case, seed) for case in cases]
    painted = [pictures for pictures in edited if pictures is not None]
    if len(painted) < len(cases):
        return None, None
    middle = len(cases) // 2
    figures = score(painted[middle], cases[middle], oracle)
    if len(cases) > 1 and oracle is not None:
        path = [attribute(pictures, case, cases[0], cases[-1], oracle) for pictures, case in zip(painted, cases, strict=True)]
        figures["monotone"] = monotone(torch.stack(path))
    return figures, painted[middle]


def _ordered(values: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Sort by a list of names; what it does not name comes last."""
    return {name: values[name] for name in (*(name for name in names if name in values), *(name for name in values if name not in names))}


def _both(fact: Any, other: Any) -> Any:
    """Return a fact of two runs: once if they agree, else both as text."""
    if other is None or fact == other:
        return fact
    return "; ".join(dict.fromkeys([*str(fact).split("; "), *str(other).split("; ")]))


def _mapped(values: Any, function: Any) -> Any:
    return {key: _mapped(item, function) for key, item in values.items()} if isinstance(values, dict) else function(values)


def _written(values: Float[Tensor, " b"]) -> list[float | None]:
    return [None if math.isnan(value) else float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _read(values: list[float | None]) -> Float[Tensor, " b"]:
    return torch.tensor([math.nan if value is None else value for value in values])
