"""DCI: does every number of a code belong to one factor, and does every factor sit in few numbers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gen.evaluation.probes import LEAST_DEVIATION, Standard
from gen.evaluation.tokens import TokenSet

FACTORS = ("shape", "colour", "material", "size")  # of appearance; position is no factor of a token but a leak, see `probes`

_SHARES = (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # of the smallest penalty at which every weight is 0; the strongest first
_VALIDATION_SHARE = 0.2
_STEPS = 300


def dci_scores(importance: Float[Tensor, "f k"]) -> tuple[float, float]:
    """Turn importances into disentanglement and completeness.

    With P_ij = R_ij / sum_j R_ij the disentanglement of number i is 1 - H(P_i) / log k; the code's is their mean, number i weighted by
    its share of sum R. With Q_ij = R_ij / sum_i R_ij the completeness of factor j is 1 - H(Q_j) / log f; the code's is their mean.

    Args:
        importance: R >= 0, of every number of the code (row) for every factor (column); at least two of each. A factor that no number
            tells has completeness 0.

    Returns:
        Disentanglement and completeness, each in [0, 1].

    Raises:
        ValueError: if there are fewer than two rows or columns, or an importance is negative, or all are 0.

    Source: Eastwood and Williams 2018, "A framework for the quantitative evaluation of disentangled representations", ICLR, section 2.
    """
    if min(importance.shape) < 2:
        raise ValueError(f"importance of shape {tuple(importance.shape)}: DCI needs at least two numbers of a code and two factors")
    if bool((importance < 0).any()) or not bool(importance.any()):
        raise ValueError(f"importance in [{float(importance.min())}, {float(importance.max())}]: DCI needs none below 0 and one above it")
    values = importance.double()
    of_number, of_factor = values.sum(1, keepdim=True), values.sum(0, keepdim=True)
    single = 1 - torch.special.entr(values / of_number.clamp_min(1e-30)).sum(1) / math.log(values.shape[1])
    whole = 1 - torch.special.entr(values / of_factor.clamp_min(1e-30)).sum(0) / math.log(values.shape[0])
    disentanglement = (single * of_number[:, 0]).sum() / values.sum()
    completeness = torch.where(of_factor[0] > 0, whole, 0).mean()
    return float(disentanglement.clamp(0, 1)), float(completeness.clamp(0, 1))


def dci(train: TokenSet, test: TokenSet, factors: tuple[str, ...] = FACTORS, seed: int = 0) -> dict[str, float]:
    """Measure disentanglement, completeness and informativeness of tokens, number by number.

    The code is all numbers of an object's tokens, standardised, not reduced. Every factor is predicted from it by a lasso: a quantity as
    it is; a class as its 0/1 columns together, centred, with total variance 1, whose weights for one number of the code are one group
    (so that a class counts as much as a quantity). The importance of a number for a factor is the length of its weights. The penalty is
    the one that explains most of a held-back fifth of `train`; the lasso is then fitted to all of it. The scores depend on the axes of
    the code: a rotated one tells as much and is less disentangled.

    Args:
        train: what is fitted to.
        test: what informativeness is measured on.
        factors: labels.
        seed: of what is held back.

    Returns:
        `dci_disentanglement`, `dci_completeness`; `dci_informativeness`, the mean over factors of `dci_informativeness_NAME`, the share
        of the variance of the (0/1 columns of the) factor that the lasso explains.

    Raises:
        ValueError: if a factor is constant in `train` or in `test`, or the code is the same for all objects of `train`.
    """
    if not bool((train.features.std(0, correction=0) > LEAST_DEVIATION).any()):
        raise ValueError(f"the code is the same for all {len(train.features)} objects: the tokens have collapsed; train others")
    columns, figures = [], {}
    for name in factors:
        y, z = _targets(train, name, train), _targets(train, name, test)
        weights = fit_group_lasso(train.features, y, seed)
        columns.append(weights.norm(dim=1))
        predicted = Standard.of(train.features)(test.features) @ weights + y.mean(0)
        figures[f"dci_informativeness_{name}"] = _explained(predicted, z, name)
    disentanglement, completeness = dci_scores(torch.stack(columns, 1))
    mean = sum(figures.values()) / len(figures)
    return {"dci_disentanglement": disentanglement, "dci_completeness": completeness, "dci_informativeness": mean, **figures}


def fit_group_lasso(features: Float[Tensor, "m f"], targets: Float[Tensor, "m k"], seed: int = 0) -> Float[Tensor, "f k"]:
    """Minimise mean squared error / 2 + penalty * sum over features of the length of their weights; a lasso for one target.

    The penalty is chosen on a held-back fifth.

    Args:
        features: standardised inside.
        targets: centred inside.
        seed: of what is held back.

    Source: Yuan and Lin 2006 (group lasso); solved by FISTA, Beck and Teboulle 2009, eq. 4.1 to 4.3.
    """
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    count = max(1, round(_VALIDATION_SHARE * len(features)))
    held_back, rest = order[:count], order[count:]
    standard, mean = Standard.of(features[rest]), targets[rest].mean(0)
    path = _path(standard(features[rest]), targets[rest] - mean, _SHARES)
    errors = [float((standard(features[held_back]) @ weights + mean - targets[held_back]).square().mean()) for weights in path]
    return _path(Standard.of(features)(features), targets - targets.mean(0), _SHARES[: errors.index(min(errors)) + 1])[-1]


def _path(x: Float[Tensor, "m f"], y: Float[Tensor, "m k"], shares: tuple[float, ...]) -> list[Float[Tensor, "f k"]]:
    """Return the weights at each penalty, a share of the smallest one at which all are 0; each begins where the one before ended."""
    gram, moment = x.mT @ x / len(x), x.mT @ y / len(x)
    step = 1 / float(torch.linalg.eigvalsh(gram)[-1])
    largest = float(moment.norm(dim=1).max())
    weights = torch.zeros_like(moment)
    found = []
    for share in shares:
        ahead, momentum = weights, 1.0
        for _ in range(_STEPS):
            moved = ahead - step * (gram @ ahead - moment)
            length = moved.norm(dim=1, keepdim=True)
            new = moved * F.relu(1 - step * share * largest / length.clamp_min(1e-12))
            following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
            ahead = new + (momentum - 1) / following * (new - weights)
            weights, momentum = new, following
        found.append(weights)
    return found


def _targets(train: TokenSet, name: str, tokens: TokenSet) -> Float[Tensor, "m k"]:
    """Return a factor as columns whose total variance is 1 in the training part."""
    values, reference = tokens.labels[name], train.labels[name]
    if not values.is_floating_point():
        count = int(reference.max()) + 1
        if int(values.max()) >= count:
            raise ValueError(
                f"{name} {int(values.max())} is tested and not among the training part's classes 0..{count - 1}; use more scenes"
            )
        values, reference = F.one_hot(values.long(), count).float(), F.one_hot(reference.long(), count).float()
    values, reference = values.reshape(len(values), -1), reference.reshape(len(reference), -1)
    variance = reference.var(0, correction=0).sum()
    if not float(variance) > 0:
        raise ValueError(f"factor {name} is constant over {len(reference)} objects; take objects that differ, or leave it out")
    return values / variance.sqrt()


def _explained(predicted: Float[Tensor, "m k"], targets: Float[Tensor, "m k"], name: str) -> float:
    """Return the share of the columns' total variance that is explained."""
    variance = targets.var(0, correction=0).sum()
    if not float(variance) > 0:
        raise ValueError(f"factor {name} is constant over the {len(targets)} objects that are tested; take objects that differ")
    return float(1 - (predicted - targets).square().mean(0).sum() / variance)
