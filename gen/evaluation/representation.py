"""What a pipeline's latents know: probes, context leakage, the swap test and DCI of one encoder, as one dictionary and one table."""

from __future__ import annotations

import torch
from torch import Tensor

from gen.evaluation.disentanglement import dci
from gen.evaluation.leakage import (
    NEIGHBOUR_CHANGES,
    OWN_CHANGES,
    Reader,
    TokenPairs,
    context_leakage,
    intervention_row,
    mean_distance,
    neighbour_pairs,
    own_pairs,
    resampled_pairs,
    swap_test,
)
from gen.evaluation.probes import CLASSES, QUANTITIES, Probes, explained, fit_probes, fit_ridge, probe
from gen.evaluation.tokens import TEST_SEED, TRAIN_SEED, TokenSet, collect
from gen.models.pipeline import RegionPipeline

TARGETS = {  # figure -> (relation, limit)
    **{f"{name}_linear": (">=", 0.95) for name in CLASSES},
    "position_r2": ("<=", 0.15),
    "context_leakage": ("<=", 0.05),
}

_MATRIX_COLUMNS = ("token", *CLASSES, *QUANTITIES)


def evaluate_representation(
    pipeline: RegionPipeline,
    oracle: Reader | None = None,
    num_train_scenes: int = 528,
    num_test_scenes: int = 176,
    num_pair_scenes: int = 96,
    split: str = "simple",
    seed: int = 0,
) -> dict[str, float]:
    """Measure what the tokens of a pipeline's objects tell; with the default numbers from about 1,500 and 500 objects.

    Args:
        pipeline: what is judged.
        oracle: names what is painted, for the swap test; None leaves that out.
        num_train_scenes: to which probes are fitted, of the split `simple`.
        num_test_scenes: on which they are scored.
        num_pair_scenes: of every kind of change, and of the swap test.
        split: preset of all scenes but the probes' training scenes; where its sizes or places are distributed otherwise, an R2 may lie far
            below 0.
        seed: of what the probes hold back.

    Returns:
        The figures of `token_figures`, `context_leakage` and `swap_test`; `matrix.CHANGE.COLUMN` of `intervention_row`.
    """
    train = collect(pipeline, num_train_scenes, "simple", TRAIN_SEED)
    test = collect(pipeline, num_test_scenes, split, TEST_SEED)
    probes = fit_probes(train, seed=seed)
    figures = token_figures(train, test, probes, seed)
    between = mean_distance(test.features)
    neighbours = {kind: neighbour_pairs(pipeline, kind, num_pair_scenes, split) for kind in NEIGHBOUR_CHANGES}
    figures |= context_leakage(neighbours, resampled_pairs(pipeline, num_pair_scenes, split), between)
    figures |= _matrix(pipeline, neighbours, probes, between, num_pair_scenes, split)
    if oracle is not None:
        figures |= swap_test(pipeline, oracle, num_pair_scenes, split)
    return figures


def token_figures(train: TokenSet, test: TokenSet, probes: Probes, seed: int = 0) -> dict[str, float]:
    """Return the figures that need only exported tokens with the labels of `collect`.

    Args:
        train: what the probes were fitted to.
        test: what is scored.
        probes: of `fit_probes`.
        seed: of what is held back.

    Returns:
        The figures of `probe` and `dci`; `position_r2`, the mean of x and y, and `position_r2_of_box_size`, what the true sides of the
        box alone tell of it; `objects_train` and `objects_test`.
    """
    figures = {"objects_train": float(len(train.tokens)), "objects_test": float(len(test.tokens))}
    figures |= probe(train, test, probes, seed)
    figures["position_r2"] = (figures["x_r2"] + figures["y_r2"]) / 2
    figures["position_r2_of_box_size"] = _position_told_by_size(train, test, seed)
    return figures | dci(train, test, seed=seed)


def _position_told_by_size(train: TokenSet, test: TokenSet, seed: int) -> float:
    """Return the R2 of position that a box's true width, height and proportion alone give: far objects are small, and high up."""

    def stack(tokens: TokenSet, names: tuple[str, ...]) -> Tensor:
        return torch.stack([tokens.labels[name] for name in names], 1)

    def sizes(tokens: TokenSet) -> Tensor:
        sides = stack(tokens, ("width", "height"))
        return torch.cat([sides, sides[:, :1] / sides[:, 1:]], 1)

    found = fit_ridge(sizes(train), stack(train, ("x", "y")), seed)
    return float(explained(found(sizes(test)), stack(test, ("x", "y"))).mean())


def _matrix(
    pipeline: RegionPipeline, neighbours: dict[str, TokenPairs], probes: Probes, between: float, num_scenes: int, split: str
) -> dict[str, float]:
    rows = {f"own {kind}": own_pairs(pipeline, kind, num_scenes, split) for kind in OWN_CHANGES}
    rows |= {f"other {kind}": pairs for kind, pairs in neighbours.items()}
    return {
        f"matrix.{change}.{column}": value
        for change, pairs in rows.items()
        for column, value in intervention_row(pairs, probes, between).items()
    }


def met(name: str, value: float) -> bool | None:
    """Tell whether a figure meets its target; None if it has none."""
    if name not in TARGETS:
        return None
    relation, limit = TARGETS[name]
    return value >= limit if relation == ">=" else value <= limit


def table(figures: dict[str, float]) -> str:
    """Return the figures of `evaluate_representation` or `token_figures` as Markdown tables."""
    parts = [_classes(figures), _quantities(figures)]
    if "context_leakage" in figures:
        parts += [_leakage(figures), _matrix_table(figures)]
    if f"swap_{CLASSES[0]}_follows" in figures:
        parts.append(_swaps(figures))
    parts.append(_dci(figures))
    return "\n\n".join(parts)


def _rows(title: tuple[str, ...], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [list(title), ["---"] * len(title), *rows])


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _target(name: str, figures: dict[str, float], percent: bool = True) -> str:
    if name not in TARGETS:
        return ""
    relation, limit = TARGETS[name]
    sign = {">=": "at least", "<=": "at most"}[relation]
    return f"{sign} {f'{100 * limit:.0f} %' if percent else f'{limit:.2f}'}: {'met' if met(name, figures[name]) else 'not met'}"


def _classes(figures: dict[str, float]) -> str:
    kinds = ("linear", "knn", "chance", "shuffled")
    rows = [[name, *(_percent(figures[f"{name}_{kind}"]) for kind in kinds), _target(f"{name}_linear", figures)] for name in CLASSES]
    return _rows(("named from the token", "linear probe", "nearest neighbours", "most frequent class", "shuffled labels", "target"), rows)


def _quantities(figures: dict[str, float]) -> str:
    rows = [[name, f"{figures[f'{name}_r2']:.3f}", f"{figures[f'{name}_r2_shuffled']:.3f}", ""] for name in QUANTITIES]
    told = f"{figures['position_r2_of_box_size']:.3f}"
    rows.append(["position (mean of x and y)", f"{figures['position_r2']:.3f}", "", _target("position_r2", figures, percent=False)])
    rows.append(["the same, read from the true width and height instead of the token", told, "", ""])
    return _rows(("read from the token", "R2 of a ridge regression", "shuffled labels", "target"), rows)


def _leakage(figures: dict[str, float]) -> str:
    names = {
        "context_leakage": "a neighbour changes, all kinds",
        **{f"context_leakage_{kind}": f"a neighbour changes, {kind}" for kind in NEIGHBOUR_CHANGES},
        "context_leakage_same_pixels": "all kinds, objects whose own pixels stay the same bits",
        "context_leakage_noise_floor": "nothing changes, 3 x 3 instead of 2 x 2 sub-rays a pixel",
    }
    rows = [[text, _percent(figures[name]), _target(name, figures)] for name, text in names.items()]
    return _rows(("context leakage", "of the distance between objects", "target"), rows)


def _matrix_table(figures: dict[str, float]) -> str:
    changes = dict.fromkeys(name.split(".")[1] for name in figures if name.startswith("matrix."))

    def cell(change: str, column: str) -> str:
        value = figures[f"matrix.{change}.{column}"]
        return f"{value:.2f} sd" if column in QUANTITIES else _percent(value)

    return _rows(("changed in the world", *_MATRIX_COLUMNS), [[change, *(cell(change, c) for c in _MATRIX_COLUMNS)] for change in changes])


def _swaps(figures: dict[str, float]) -> str:
    kinds = ("follows", "stays", "oracle")
    rows = [[name, *(_percent(figures[f"swap_{name}_{kind}"]) for kind in kinds)] for name in CLASSES]
    return _rows(("two objects trade tokens", "follows the token", "stays with the place", "oracle right before the trade"), rows)


def _dci(figures: dict[str, float]) -> str:
    return _rows(
        ("DCI", "value"), [[name[4:].replace("_", ", "), f"{value:.3f}"] for name, value in figures.items() if name.startswith("dci_")]
    )
