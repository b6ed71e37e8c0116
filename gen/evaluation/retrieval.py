"""Retrieval: the objects whose tokens lie nearest to an object's, how many of them are of its kind, and what they look like."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from gen import scenes
from gen.evaluation.probes import CLASSES, distances
from gen.evaluation.tokens import TokenSet
from gen.regions import Regions
from image_utils.convert import to_pil

_MARGIN = 1.2  # side of a crop, in units of the object's longer side


@dataclass(frozen=True)
class Neighbours:
    """What was found for p queries among the objects of a library, the nearest first.

    Attributes:
        rows: of the library.
        distance: 1 - cosine of the standardised tokens, in [0, 2].
    """

    rows: Int[Tensor, "p k"]
    distance: Float[Tensor, "p k"]


def nearest(library: TokenSet, queries: TokenSet, count: int) -> Neighbours:
    """Find each query's nearest objects by `gen.evaluation.probes.distances`.

    Args:
        library: objects that are found.
        queries: objects of other scenes; one that is in the library too finds itself first.
        count: k.

    Raises:
        ValueError: if the library holds fewer than k objects, or its tokens are of another size than the queries'.
    """
    if not 1 <= count <= len(library.tokens):
        raise ValueError(f"count={count} neighbours among {len(library.tokens)} objects; it must be from 1 to the number of objects")
    if library.features.shape[1] != queries.features.shape[1]:
        raise ValueError(
            f"queries of {queries.features.shape[1]} numbers among objects of {library.features.shape[1]}; read both with one pipeline"
        )
    distance, rows = distances(library.features, queries.features).topk(count, largest=False)
    return Neighbours(rows, distance)


def alike(found: Neighbours, library: TokenSet, queries: TokenSet, name: str) -> Float[Tensor, " p"]:
    """Return the share of each query's neighbours that are of its class; `name` is a label of both sets.

    Raises:
        ValueError: if one of them lacks the label.
    """
    if name not in library.labels or name not in queries.labels:
        raise ValueError(f"label {name!r} is not in both sets; choose one of {', '.join(sorted(library.labels.keys() & queries.labels))}")
    return (library.labels[name][found.rows] == queries.labels[name][:, None]).float().mean(1)


def retrieval(library: TokenSet, queries: TokenSet, count: int = 5, names: tuple[str, ...] = CLASSES) -> dict[str, float]:
    """Measure how many of the nearest objects are of the query's class.

    Args:
        library: objects that are found.
        queries: objects of other scenes.
        count: neighbours of each.
        names: labels that are classes.

    Returns:
        For every name `NAME_alike`, the mean share of neighbours of the query's class, and `NAME_alike_chance`, the same of objects taken
        blindly from the library.

    Raises:
        ValueError: as `nearest` and `alike`.
    """
    found = nearest(library, queries, count)
    blind = nearest(library, queries, len(library.tokens))
    figures = {}
    for name in names:
        figures[f"{name}_alike"] = float(alike(found, library, queries, name).mean())
        figures[f"{name}_alike_chance"] = float(alike(blind, library, queries, name).mean())
    return figures


def crops(tokens: TokenSet, side: int = 64) -> list[Image.Image]:
    """Render the scenes that `gen.evaluation.tokens.collect` read once more, and cut its objects out: one picture a row.

    Args:
        tokens: as `collect` returned them.
        side: of a picture, in pixels.

    Raises:
        ValueError: if the tokens' origin does not tell the scenes, or these hold another number of objects.
    """
    missing = [key for key in ("split", "seed", "scenes", "resolution") if key not in tokens.origin]
    if missing:
        raise ValueError(f"the tokens' origin {tokens.origin} does not tell {', '.join(missing)}; take tokens from `collect`")
    seed, count = int(tokens.origin["seed"]), int(tokens.origin["scenes"])
    specs = [scenes.sample_scene(seed, number, tokens.origin["split"]) for number in range(count)]
    rendering = scenes.render(specs, int(tokens.origin["resolution"]))
    objects = Regions.from_label_map(rendering.label_map, rendering.boxes.shape[1]).valid
    objects[:, 0] = False
    if int(objects.sum()) != len(tokens.tokens):
        raise ValueError(f"{count} scenes show {int(objects.sum())} objects, not {len(tokens.tokens)}; give all rows of `collect`")
    pictures = [to_pil(pixel_values) for pixel_values in rendering.pixel_values]
    return [_cut(pictures[scene], rendering.boxes[scene, number].tolist(), side) for scene, number in objects.nonzero().tolist()]


def _cut(picture: Image.Image, box: list[float], side: int) -> Image.Image:
    """Cut a square around a box (left, top, right, bottom) of image units, moved inside the picture where it would leave it."""
    left, top, right, bottom = (value * picture.width for value in box)
    span = min(_MARGIN * max(right - left, bottom - top), picture.width)
    x, y = (min(max(0.0, (low + high - span) / 2), picture.width - span) for low, high in ((left, right), (top, bottom)))
    return picture.resize((side, side), Image.Resampling.BICUBIC, (x, y, x + span, y + span))
