"""Intervals: how sure a figure is, over scenes, over training seeds and over sampling seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Statistic = Literal["mean", "median", "95th percentile"]
_DRAWS, _LEVEL = 1000, 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure over scenes and its interval; all three are NaN where no scene has the figure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Spread:
    """A figure over trained copies of one method.

    Attributes:
        mean: of the copies.
        deviation: the sample standard deviation (n - 1); None for a single copy, which tells nothing of it.
        count: n, the number of copies.
    """

    mean: float
    deviation: float | None
    count: int


def summarise(values: Float[Tensor, "*k b"], statistic: Statistic = "mean") -> Float[Tensor, "*k"]:
    """Return a statistic over the last dimension; NaN values are scenes that do not have the figure and are left out.

    Returns:
        NaN where no scene has the figure. Quantiles interpolate linearly.
    """
    if statistic == "mean":
        return values.nanmean(-1)
    return values.nanquantile(0.5 if statistic == "median" else 0.95, -1)


def bootstrap(values: Float[Tensor, "*k b"], statistic: Statistic = "mean", seed: int = 0) -> Estimate:
    """Return a statistic over scenes with its percentile bootstrap interval of 95 %, from 1,000 draws of scenes.

    Of several trained copies the statistic is taken copy by copy, on the same drawn scenes, and then averaged: neither value nor interval
    is that of scenes whose noise has been averaged away.

    Args:
        values: one a scene, a row for each trained copy if there are several; NaN where a scene does not have the figure. A scene that
            any copy lacks is left out.
        statistic: what is drawn again and again.
        seed: of the draws.

    Raises:
        ValueError: if there is no scene.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3.
    """
    return _estimate([values], statistic, seed)


def paired_difference(
    values: Float[Tensor, "*k b"], others: Float[Tensor, "*j c"], statistic: Statistic = "mean", seed: int = 0
) -> Estimate:
    """Return statistic(values) - statistic(others) with its bootstrap interval; every draw takes the same scenes of both.

    Trained copies are treated as in `bootstrap`; the sides may have different numbers of them. A scene that lacks the figure on either side
    is left out on both.

    Args:
        values: of one method, a scene each, a row for each copy if there are several.
        others: of another method on the same scenes.
        statistic: whose difference is told.
        seed: of the draws.

    Raises:
        ValueError: if there is no scene, or the two do not have the same number.
    """
    if values.shape[-1] != others.shape[-1]:
        counts = f"{values.shape[-1]} and {others.shape[-1]}"
        raise ValueError(f"paired_difference got {counts} scenes; give both methods' values on the same scenes")
    return _estimate([values, others], statistic, seed)


def spread(values: list[float]) -> Spread:
    """Return mean and sample standard deviation of one figure of several trained copies.

    Raises:
        ValueError: if there is no copy.
    """
    if not values:
        raise ValueError("spread got no value; give the figure of at least one trained copy")
    figures = torch.tensor(values, dtype=torch.float64)
    return Spread(float(figures.mean()), float(figures.std()) if len(values) > 1 else None, len(values))


def noise_floor(values: Float[Tensor, "s b"], statistic: Statistic = "mean") -> float:
    """Return by how much a figure changes when only the sampling noise does: its standard deviation over s sampling seeds.

    Args:
        values: a row for each sampling seed of one model, a column for each scene.
        statistic: over the scenes.

    Raises:
        ValueError: if there are fewer than two sampling seeds.
    """
    if len(values) < 2:
        raise ValueError(f"noise_floor got {len(values)} sampling seed; a standard deviation needs at least 2")
    return float(summarise(values.double(), statistic).std())


def _estimate(sides: list[Tensor], statistic: Statistic, seed: int) -> Estimate:
    """Return the copies' mean statistic of the first side, less that of the second if there is one, with its interval."""
    copies = [side.double().reshape(side.shape[:-1].numel(), -1) for side in sides]
    if copies[0].shape[1] == 0:
        raise ValueError("a bootstrap got no scene; give the values of at least one")
    known = ~torch.cat(copies).isnan().any(0)
    count = int(known.sum())
    if count == 0:
        return Estimate(torch.nan, torch.nan, torch.nan)
    drawn = torch.randint(count, (_DRAWS, count), generator=torch.Generator().manual_seed(seed))
    value, draws = torch.zeros((), dtype=torch.float64), torch.zeros(_DRAWS, dtype=torch.float64)
    for side, sign in zip(copies, (1, -1), strict=False):
        value = value + sign * summarise(side[:, known], statistic).mean()
        draws = draws + sign * summarise(side[:, known][:, drawn], statistic).mean(0)
    tail = (1 - _LEVEL) / 2
    return Estimate(float(value), float(draws.quantile(tail)), float(draws.quantile(1 - tail)))
