"""Edits as small JSON values: a plan can be written down, kept in a picture, and done again."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

from gen.editing import operations
from gen.regions import RegionLatents


@dataclass(frozen=True)
class Move:
    """Shift a region by (dx, dy), in image units."""

    operation: ClassVar[str] = "move"
    region: int
    dx: float
    dy: float

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.move(latents, self.region, self.dx, self.dy)


@dataclass(frozen=True)
class Resize:
    """Multiply a region's size; `factor_y` is `factor_x` where it is not given."""

    operation: ClassVar[str] = "resize"
    region: int
    factor_x: float
    factor_y: float | None = None

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.resize(latents, self.region, (self.factor_x, self.factor_x if self.factor_y is None else self.factor_y))


@dataclass(frozen=True)
class Flip:
    """Mirror a region left to right."""

    operation: ClassVar[str] = "flip"
    region: int

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.flip(latents, self.region)


@dataclass(frozen=True)
class Rotate:
    """Turn a region in the picture's plane, clockwise."""

    operation: ClassVar[str] = "rotate"
    region: int
    degrees: float

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.rotate(latents, self.region, self.degrees)


@dataclass(frozen=True)
class Turn:
    """Turn an object about its own vertical axis, counter-clockwise seen from above; for models that were told such turns."""

    operation: ClassVar[str] = "turn"
    region: int
    degrees: float

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.turn(latents, self.region, self.degrees)


@dataclass(frozen=True)
class Remove:
    """Take a region out of the picture."""

    operation: ClassVar[str] = "remove"
    region: int

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.remove(latents, self.region)


@dataclass(frozen=True)
class Keep:
    """Take every other object out of the picture."""

    operation: ClassVar[str] = "keep"
    region: int

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.keep(latents, self.region)


@dataclass(frozen=True)
class Swap:
    """Let two regions trade places."""

    operation: ClassVar[str] = "swap"
    region: int
    other_region: int

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.swap(latents, self.region, self.other_region)


@dataclass(frozen=True)
class Copy:
    """Add a second one of a region, shifted by (dx, dy)."""

    operation: ClassVar[str] = "copy"
    region: int
    dx: float
    dy: float

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.copy(latents, self.region, self.dx, self.dy)


@dataclass(frozen=True)
class Insert:
    """Add a region of the picture `source`, centred at (x, y)."""

    operation: ClassVar[str] = "insert"
    source: str
    source_region: int
    x: float
    y: float

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.insert(latents, _source(sources, self.source), self.source_region, (self.x, self.y))


@dataclass(frozen=True)
class Interpolate:
    """Mix a region with a region of the picture `source`, in its look, its pose, or both; weight 1 is the source's."""

    operation: ClassVar[str] = "interpolate"
    region: int
    source: str
    source_region: int
    weight: float
    what: operations.Mixed = "both"

    def apply(self, latents: RegionLatents, sources: Mapping[str, RegionLatents]) -> RegionLatents:
        """Return the edited latents."""
        return operations.interpolate(latents, self.region, _source(sources, self.source), self.source_region, self.weight, self.what)


# The closed list of what a plan may hold; a new edit is a function in operations.py, a class above, and its name here.
Edit = Move | Resize | Flip | Rotate | Turn | Remove | Keep | Swap | Copy | Insert | Interpolate
OPERATIONS: dict[str, type] = {kind.operation: kind for kind in get_args(Edit)}


@dataclass(frozen=True)
class EditPlan:
    """What to do to a picture and how to paint it; with a pipeline and a picture it determines the result.

    Attributes:
        edits: applied in this order.
        prompt: a sentence as a second condition, "" for none.
        seed: of the noise.
        num_inference_steps: of the sampler, at least 1.
        guidance_scale: 1 is no guidance.
        refinement_steps: of the picture's tokens before they are edited, see `gen.editing.refine`; 0 takes the encoder's.
        composite: put the untouched pixels of the source back.
    """

    edits: tuple[Edit, ...] = ()
    prompt: str = ""
    seed: int = 0
    num_inference_steps: int = 4
    guidance_scale: float = 1.0
    refinement_steps: int = 0
    composite: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed {self.seed} of the plan is out of range; give one in 0..2^63-1")
        if not 1 <= self.num_inference_steps <= 1000:
            raise ValueError(f"num_inference_steps {self.num_inference_steps} of the plan is out of range; give 1..1000")
        if not 0 <= self.guidance_scale <= 100:
            raise ValueError(f"guidance_scale {self.guidance_scale} of the plan is out of range; give 0..100")
        if not 0 <= self.refinement_steps <= 10_000:
            raise ValueError(f"refinement_steps {self.refinement_steps} of the plan is out of range; give 0..10000")

    def sources(self) -> tuple[str, ...]:
        """Return the names of the other pictures that the edits use, each once, in order."""
        return tuple(dict.fromkeys(edit.source for edit in self.edits if isinstance(edit, Insert | Interpolate)))


def apply(plan: EditPlan, latents: RegionLatents, insert_sources: Mapping[str, RegionLatents] | None = None) -> RegionLatents:
    """Apply a plan's edits one after the other.

    Args:
        plan: its edits' region numbers refer to `latents`.
        latents: of the picture.
        insert_sources: latents of the other pictures, by the names that the plan uses.

    Raises:
        ValueError: if an edit does not fit; says which one.
    """
    for number, edit in enumerate(plan.edits, start=1):
        try:
            latents = edit.apply(latents, insert_sources or {})
        except ValueError as error:
            raise ValueError(f"edit {number} ({edit.operation}): {error}") from error
    return latents


def to_json(plan: EditPlan) -> str:
    """Write a plan as JSON, every key spelt out."""
    return json.dumps(to_values(plan), indent=1, allow_nan=False)


def to_values(plan: EditPlan) -> dict[str, Any]:
    """Return a plan as values that JSON can hold."""
    values = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return values | {"edits": [{"operation": edit.operation, **vars(edit)} for edit in plan.edits]}


def from_json(text: str) -> EditPlan:
    """Read a plan; nothing unknown is passed over.

    Raises:
        ValueError: if the text is not JSON, or a key or value is unknown, missing or of the wrong kind; names it and the nearest valid one.
    """
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"the plan is not JSON ({error}); see `to_json` for what one looks like") from error
    return from_values(values)


def from_values(values: Any) -> EditPlan:
    """Build a plan from decoded JSON values; `from_json` says what is refused.

    Raises:
        ValueError: as in `from_json`.
    """
    if isinstance(values, dict) and isinstance(values.get("edits"), list):
        edits = tuple(_edit(value, f"edit {number}") for number, value in enumerate(values["edits"], start=1))
        return _built(EditPlan, values | {"edits": edits}, "the plan")
    raise ValueError(f"the plan must be a JSON object with a list 'edits', not {_shown(values)}")


def _edit(values: Any, place: str) -> Edit:
    if not isinstance(values, dict) or "operation" not in values:
        raise ValueError(f"{place} must be a JSON object with an 'operation', not {_shown(values)}")
    name = values["operation"]
    if not isinstance(name, str) or name not in OPERATIONS:
        raise ValueError(f"{place} has the unknown operation {_shown(name)}; {_nearest(str(name), OPERATIONS)}")
    return _built(OPERATIONS[name], {key: value for key, value in values.items() if key != "operation"}, f"{place} ({name})")


def _built(kind: type, values: dict[str, Any], place: str) -> Any:
    """Build a frozen dataclass from JSON values, each of its field's kind."""
    hints = get_type_hints(kind)
    names = {field.name: field for field in fields(kind)}
    for key in values:
        if key not in names:
            raise ValueError(f"{place} has the unknown key {_shown(key)}; {_nearest(key, names)}")
    for name, field in names.items():
        if name not in values and field.default is MISSING:
            raise ValueError(f"{place} lacks {name!r}; it needs {', '.join(key for key in names if names[key].default is MISSING)}")
    return kind(**{key: _checked(value, hints[key], f"{key!r} of {place}") for key, value in values.items()})


def _checked(value: Any, hint: Any, place: str) -> Any:
    if value is None and hint == float | None:
        return None
    if hint in (float, float | None):
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        raise ValueError(f"{place} must be a finite number, not {_shown(value)}")
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"{place} must be one of {', '.join(get_args(hint))}, not {_shown(value)}")
    if hint in (int, bool, str) and type(value) is not hint:
        raise ValueError(f"{place} must be {'an' if hint is int else 'a'} {hint.__name__}, not {_shown(value)}")
    return value


def _source(sources: Mapping[str, RegionLatents], name: str) -> RegionLatents:
    if name not in sources:
        raise ValueError(f"there is no picture {name!r} to take from; {_nearest(name, sources)}")
    return sources[name]


def _nearest(name: str, valid: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, valid, n=1)
    listed = ", ".join(valid) or "none"
    return f"did you mean {near[0]!r}? valid are: {listed}" if near else f"valid are: {listed}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
