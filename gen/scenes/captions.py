"""Words for a scene: captions from a small closed vocabulary, and class labels."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from gen.scenes.catalogue import COLOURS, FLOOR_COLOURS, MATERIALS, SHAPES
from gen.scenes.spec import ObjectSpec, SceneSpec

# What people call the shapes; the first word is the shape's own name.
NAMES = {
    "sphere": ("sphere", "ball", "circle"),
    "box": ("box", "cube", "square"),
    "cylinder": ("cylinder", "can"),
    "cone": ("cone", "triangle"),
    "capsule": ("capsule", "pill"),
    "torus": ("torus", "ring", "donut"),
    "block": ("block", "corner"),
    "mug": ("mug", "cup"),
}
_PATTERNS = {"plain": "", "stripes": "striped", "checker": "checkered", "dots": "dotted"}
_GLUE = ("a", "an", "and", "on", "with", "empty", "floor", "background")

_PATTERN_WORDS = tuple(word for word in _PATTERNS.values() if word)
_SHAPE_WORDS = tuple(word for names in NAMES.values() for word in names)

VOCABULARY: tuple[str, ...] = tuple(sorted({*_GLUE, *COLOURS, *FLOOR_COLOURS, *MATERIALS, *_PATTERN_WORDS, *_SHAPE_WORDS}))


def caption(spec: SceneSpec) -> str:
    """Describe a scene in lower-case words of `VOCABULARY`, without punctuation.

    How it is said (on a floor or with a background, with materials and patterns, with everyday names) follows from the scene's seed
    and number, so that a twin is described in the same manner.

    Examples: "a red mug and a blue cone on a grey floor", "red circle with blue background".
    """
    rng = random.Random(f"caption {spec.seed} {spec.scene_id}")
    as_picture, detailed, everyday = rng.random() < 0.3, rng.random() < 0.3, rng.random() < 0.4
    choices = [rng.random() for _ in spec.objects]
    phrases = [
        _phrase(item, detailed, NAMES[item.shape][int(choice * len(NAMES[item.shape]))] if everyday else item.shape, not as_picture)
        for item, choice in zip(spec.objects, choices, strict=True)
        if item.present
    ]
    if not phrases:
        return f"an empty {spec.floor.colour} floor"
    ending = f"with {spec.floor.colour} background" if as_picture else f"on a {spec.floor.colour} floor"
    return f"{' and '.join(phrases)} {ending}"


def labels(specs: Sequence[SceneSpec], n: int) -> dict[str, Int[Tensor, "b n"]]:
    """Return what each region is, as numbers.

    Args:
        specs: the scenes.
        n: regions, the background included.

    Returns:
        `shape`, `colour` and `material`: positions in `catalogue.SHAPES`, `COLOURS`, `MATERIALS`; -1 for the background, for padding
        and for absent objects.

    Raises:
        ValueError: if a scene has more objects than regions.
    """
    tables = {"shape": SHAPES, "colour": tuple(COLOURS), "material": MATERIALS}
    result = {name: torch.full((len(specs), n), -1) for name in tables}
    for row, spec in enumerate(specs):
        if len(spec.objects) >= n:
            needed = len(spec.objects) + 1
            raise ValueError(f"scene {spec.scene_id} with its floor has {needed} regions, which do not fit in n={n}; use n >= {needed}")
        for column, item in enumerate(spec.objects, 1):
            for name, values in tables.items():
                if item.present:
                    result[name][row, column] = values.index(getattr(item, name))
    return result


def _phrase(item: ObjectSpec, detailed: bool, name: str, article: bool) -> str:
    words = [item.material, _PATTERNS[item.texture]] if detailed else []
    words = [*filter(None, words), item.colour, name]
    if article:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    return " ".join(words)
