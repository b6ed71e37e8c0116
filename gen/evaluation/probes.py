"""Probes: what can be read off tokens by a linear classifier, by their nearest neighbours, and by ridge regression."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gen.evaluation.tokens import TokenSet

CLASSES = ("shape", "colour", "material")
QUANTITIES = ("size", "width", "height", "x", "y")
LEAST_DEVIATION = 1e-6  # of a feature that is not constant

_PENALTIES = (1.0, 0.1, 0.01, 0.001, 0.0001)  # of the squared weights, on standardised features; the strongest first
_VALIDATION_SHARE = 0.2
_LBFGS_STEPS = 60
_NEIGHBOURS, _TEMPERATURE = 20, 0.07


@dataclass(frozen=True)
class Standard:
    """Features brought to mean 0 and deviation 1 as measured on the training part; a constant one becomes 0."""

    mean: Float[Tensor, " f"]
    deviation: Float[Tensor, " f"]

    @staticmethod
    def of(features: Float[Tensor, "m f"]) -> Standard:
        """Measure mean and deviation."""
        deviation = features.std(0, correction=0)
        return Standard(features.mean(0), torch.where(deviation > LEAST_DEVIATION, deviation, 1))

    def __call__(self, features: Float[Tensor, "m f"]) -> Float[Tensor, "m f"]:
        """Bring features to that scale."""
        return (features - self.mean) / self.deviation


@dataclass(frozen=True)
class LinearMap:
    """A linear map of standardised features: to class logits, or to quantities."""

    standard: Standard
    weight: Float[Tensor, "f k"]
    bias: Float[Tensor, " k"]
    penalty: float

    def __call__(self, features: Float[Tensor, "m f"]) -> Float[Tensor, "m k"]:
        """Return logits or quantities."""
        return self.standard(features) @ self.weight + self.bias


def fit_classifier(features: Float[Tensor, "m f"], labels: Int[Tensor, " m"], num_classes: int, seed: int = 0) -> LinearMap:
    """Fit a multinomial logistic regression: mean cross-entropy + penalty / 2 * squared weights.

    The penalty is the one of `_PENALTIES` that names most of a held-back fifth rightly; the map is then fitted to all.

    Args:
        features: of the training part.
        labels: in [0, num_classes).
        num_classes: k.
        seed: of what is held back.
    """

    def fit(rows: Tensor, penalties: tuple[float, ...]) -> list[LinearMap]:
        standard = Standard.of(features[rows])
        x, y = standard(features[rows]), labels[rows]
        weight, bias = torch.zeros(x.shape[1], num_classes), torch.zeros(num_classes)
        maps = []
        for penalty in penalties:  # each begins where the stronger penalty ended
            weight, bias = _logistic(x, y, weight, bias, penalty)
            maps.append(LinearMap(standard, weight, bias, penalty))
        return maps

    return _select(fit, lambda found, rows: accuracy(found(features[rows]).argmax(-1), labels[rows]), len(features), seed)


def fit_ridge(features: Float[Tensor, "m f"], targets: Float[Tensor, "m k"], seed: int = 0) -> LinearMap:
    """Fit a ridge regression: mean squared error + penalty * squared weights.

    The penalty is the one of `_PENALTIES` that explains most of a held-back fifth (mean R2 of the targets); the map is then fitted to all.

    Args:
        features: of the training part.
        targets: quantities; none of them constant.
        seed: of what is held back.
    """

    def fit(rows: Tensor, penalties: tuple[float, ...]) -> list[LinearMap]:
        standard, bias = Standard.of(features[rows]), targets[rows].mean(0)
        x, y = standard(features[rows]).double(), (targets[rows] - bias).double()
        gram, moment = x.mT @ x / len(x), x.mT @ y / len(x)
        identity = torch.eye(len(gram), dtype=torch.float64)
        return [LinearMap(standard, torch.linalg.solve(gram + p * identity, moment).float(), bias, p) for p in penalties]

    return _select(fit, lambda found, rows: float(explained(found(features[rows]), targets[rows]).mean()), len(features), seed)


def distances(train: Float[Tensor, "m f"], features: Float[Tensor, "p f"]) -> Float[Tensor, "p m"]:
    """Return how far objects are from those of `train`: 1 - cosine of the features, standardised as `train` is, in [0, 2]."""
    standard = Standard.of(train)
    return 1 - F.normalize(standard(features), dim=-1) @ F.normalize(standard(train), dim=-1).mT


def nearest_votes(
    train: Float[Tensor, "m f"],
    labels: Int[Tensor, " m"],
    features: Float[Tensor, "p f"],
    num_classes: int,
    neighbours: int = _NEIGHBOURS,
    temperature: float = _TEMPERATURE,
) -> Float[Tensor, "p k"]:
    """Let each object's nearest neighbours vote for its class; a vote is exp(-distance / temperature), so it falls with the distance.

    Args:
        train: features of the objects that vote.
        labels: their classes, in [0, num_classes).
        features: of the objects that are named.
        num_classes: k.
        neighbours: that vote; all where there are fewer.
        temperature: of the votes.

    Returns:
        Each class's share of the votes.

    Source: the weighting is that of Wu et al. 2018, arXiv 1805.01978, section 3.4.
    """
    nearest, index = distances(train, features).topk(min(neighbours, len(train)), largest=False)
    weights = torch.softmax(-nearest / temperature, -1)
    return torch.zeros(len(features), num_classes).scatter_add_(1, labels[index], weights)


def accuracy(named: Int[Tensor, " m"], labels: Int[Tensor, " m"]) -> float:
    """Return the share that is named rightly."""
    return float((named == labels).float().mean())


def explained(predicted: Float[Tensor, "m k"], targets: Float[Tensor, "m k"]) -> Float[Tensor, " k"]:
    """Return R2 of every target, 1 - squared error / variance: 1 is exact, 0 no better than the mean, negative is worse than it.

    Raises:
        ValueError: if a target is constant.
    """
    variance = targets.var(0, correction=0)
    if bool((variance <= 0).any()):
        raise ValueError(f"R2 of target {int(variance.argmin())}: it is constant over {len(targets)} objects; take objects that differ")
    return 1 - (predicted - targets).square().mean(0) / variance


@dataclass(frozen=True)
class Probes:
    """Linear probes of one set of tokens.

    Attributes:
        classifiers: by label, features -> class logits.
        ridge: features -> all of `quantities`.
        quantities: names of the ridge's outputs.
        spread: standard deviation of each quantity in the training part.
    """

    classifiers: dict[str, LinearMap]
    ridge: LinearMap
    quantities: tuple[str, ...]
    spread: Float[Tensor, " k"]


def fit_probes(train: TokenSet, classes: tuple[str, ...] = CLASSES, quantities: tuple[str, ...] = QUANTITIES, seed: int = 0) -> Probes:
    """Fit a linear probe of every named label.

    Args:
        train: what is fitted to, the choice of penalties included.
        classes: labels that are whole numbers from 0.
        quantities: the other labels.
        seed: of what is held back to choose penalties.

    Raises:
        ValueError: if labels are missing.
    """
    _check_labels(train, (*classes, *quantities))
    classifiers = {name: fit_classifier(train.features, train.labels[name], _num_classes(train, name), seed) for name in classes}
    targets = _columns(train, quantities)
    return Probes(classifiers, fit_ridge(train.features, targets, seed), quantities, targets.std(0, correction=0))


def probe(train: TokenSet, test: TokenSet, probes: Probes, seed: int = 0) -> dict[str, float]:
    """Score probes beside what chance and shuffled labels give.

    Args:
        train: what the probes were fitted to.
        test: what is scored.
        probes: from `fit_probes`.
        seed: of the shuffling.

    Returns:
        For every class label the accuracies `NAME_linear`, `NAME_knn`, `NAME_chance` (always the training part's most frequent class) and
        `NAME_shuffled` (the linear probe fitted to shuffled labels); for every quantity `NAME_r2` and `NAME_r2_shuffled`.

    Raises:
        ValueError: if labels are missing, the widths differ, or a class of `test` is not in `train`.
    """
    _check_labels(test, (*probes.classifiers, *probes.quantities))
    if train.features.shape[1] != test.features.shape[1]:
        raise ValueError(
            f"tokens of {test.features.shape[1]} numbers for a probe of {train.features.shape[1]}; export both with one pipeline"
        )
    order = torch.randperm(len(train.features), generator=torch.Generator().manual_seed(seed))
    figures: dict[str, float] = {}
    for name, classifier in probes.classifiers.items():
        labels, truth, count = train.labels[name], test.labels[name], _num_classes(train, name)
        if int(truth.max()) >= count:
            raise ValueError(
                f"{name} {int(truth.max())} is tested and not among the training part's classes 0..{count - 1}; use more scenes"
            )
        shuffled = fit_classifier(train.features, labels[order], count, seed)
        figures[f"{name}_linear"] = accuracy(classifier(test.features).argmax(-1), truth)
        figures[f"{name}_knn"] = accuracy(nearest_votes(train.features, labels, test.features, count).argmax(-1), truth)
        figures[f"{name}_chance"] = accuracy(labels.bincount().argmax().expand_as(truth), truth)
        figures[f"{name}_shuffled"] = accuracy(shuffled(test.features).argmax(-1), truth)
    targets, truths = _columns(train, probes.quantities), _columns(test, probes.quantities)
    read = explained(probes.ridge(test.features), truths).tolist()
    control = explained(fit_ridge(train.features, targets[order], seed)(test.features), truths).tolist()
    for name, value, shuffled_value in zip(probes.quantities, read, control, strict=True):
        figures[f"{name}_r2"], figures[f"{name}_r2_shuffled"] = value, shuffled_value
    return figures


def _select(
    fit: Callable[[Tensor, tuple[float, ...]], list[LinearMap]], score: Callable[[LinearMap, Tensor], float], count: int, seed: int
) -> LinearMap:
    """Fit with every penalty to four fifths, and with the best one (the strongest of equals) to all."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_back = max(1, round(_VALIDATION_SHARE * count))
    scores = [score(found, order[:held_back]) for found in fit(order[held_back:], _PENALTIES)]
    return fit(order, _PENALTIES[: scores.index(max(scores)) + 1])[-1]


def _logistic(x: Tensor, y: Tensor, weight: Tensor, bias: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=_LBFGS_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(x @ weight + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()


def _num_classes(tokens: TokenSet, name: str) -> int:
    return int(tokens.labels[name].max()) + 1


def _columns(tokens: TokenSet, names: tuple[str, ...]) -> Float[Tensor, "m k"]:
    return torch.stack([tokens.labels[name].float() for name in names], 1)


def _check_labels(tokens: TokenSet, wanted: tuple[str, ...]) -> None:
    missing = [name for name in wanted if name not in tokens.labels]
    if missing:
        raise ValueError(f"tokens without the labels {', '.join(missing)} cannot be probed; they have {', '.join(tokens.labels) or 'none'}")
