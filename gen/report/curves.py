"""Draws curves as small SVG charts that go into a page: text stays text, colours are the page's own, and points are thinned out."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BUCKETS = 200  # stretches of a curve of which the lowest and the highest point are kept
SMOOTHED = 30  # the mean runs over a window of one in so many points
MIN_SMOOTHED = 2 * SMOOTHED  # points; fewer are shown as they are
LOG_RATIO = 10.0  # highest value to a curve's median from which the axis is logarithmic
INCHES = (2.9, 1.75)
# The page knows these colours under other names, so that a chart is light or dark with it.
MUTED, GRID, NUM_COLOURS = "#010101", "#020202", 10
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8,
    "path.simplify": False,
    "axes.edgecolor": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
STRIPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>|font-family: [^;\"]*;? ?", re.DOTALL
)

Curve = tuple[np.ndarray, np.ndarray]


def thinned(steps: np.ndarray, values: np.ndarray) -> Curve:
    """Keep the first, the last, and of each of `BUCKETS` stretches the lowest and the highest point; few points are all kept.

    Args:
        steps: [n].
        values: [n], finite.
    """
    if len(steps) <= 2 * BUCKETS:
        return steps, values
    kept = {0, len(steps) - 1}
    for part in np.array_split(np.arange(len(steps)), BUCKETS):
        kept |= {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
    chosen = np.array(sorted(kept))
    return steps[chosen], values[chosen]


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the mean over a centred window, which is cut at the ends: [n] -> [n]."""
    half = len(values) // SMOOTHED // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def scatters(values: np.ndarray) -> bool:
    """Tell whether a curve is long and goes up and down: a running mean would only bend a learning rate's warm-up."""
    return len(values) >= MIN_SMOOTHED and float(np.abs(np.diff(values)).sum()) > 3 * float(np.ptp(values))


def wants_log(curves: Sequence[Curve]) -> bool:
    """Tell whether half of some curve would lie in the lowest tenth of a linear axis; values that are not positive have no logarithm."""
    low, high = min(float(values.min()) for _, values in curves), max(float(values.max()) for _, values in curves)
    return low > 0 and high >= LOG_RATIO * min(float(np.median(values)) for _, values in curves)


def line_chart(curves: dict[int, Curve], last_step: float, label: str) -> str:
    """Draw curves over the steps; one that scatters is pale, with its running mean over it.

    Args:
        curves: number of the colour -> steps and finite values, at least one point each.
        last_step: where the axis ends, above 0: one for all charts of a page, so that they can be compared.
        label: says what is seen to those who cannot see it; another one for each chart of a page.
    """
    with _axes(last_step, label) as axes:
        for colour, (steps, values) in curves.items():
            pale = scatters(values)
            shown = thinned(steps, values)
            axes.plot(*shown, color=_series(colour), alpha=0.35 if pale else 1.0, linewidth=0.8 if pale else 1.4)
            if len(values) == 1:
                axes.plot(*shown, color=_series(colour), marker="o", markersize=4)
            if pale:
                axes.plot(*thinned(steps, smoothed(values)), color=_series(colour), linewidth=1.4)
        axes.margins(y=0.06)
        if wants_log(list(curves.values())):
            from matplotlib.ticker import LogLocator, NullLocator

            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=_log_ticks(*axes.get_ylim()), numticks=5))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: _number(value))
            axes.text(-0.2, -0.05, "log", color=MUTED, va="top", transform=axes.transAxes)
        return _svg(axes, label)


def share_chart(steps: np.ndarray, parts: Sequence[np.ndarray], last_step: float, label: str) -> str:
    """Stack the parts of a whole over the steps, as shares; of many points each of `BUCKETS` stretches shows its sum.

    Args:
        steps: [n], at least one.
        parts: each [n], not negative, with a sum above 0 at every step; the first lies at the bottom and has colour 0.
        last_step: as in `line_chart`.
        label: as in `line_chart`.
    """
    stretches = np.array_split(np.arange(len(steps)), min(BUCKETS, len(steps)))
    places = np.array([steps[part].mean() for part in stretches])
    sums = np.array([[values[part].sum() for part in stretches] for values in parts])
    if len(places) == 1:  # a stack of one point has no area
        places, sums = np.array([0.0, places[0]]), sums.repeat(2, 1)
    with _axes(last_step, label) as axes:
        axes.stackplot(places, sums / sums.sum(0), colors=[_series(number) for number in range(len(parts))], linewidth=0)
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        return _svg(axes, label)


@contextmanager
def _axes(last_step: float, label: str) -> Iterator[Axes]:
    """Yield empty axes in the page's style, which holds until the chart is written; ids in the SVG follow from the label."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, MaxNLocator

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever its user's own settings are
        matplotlib.rcParams.update(STYLE | {"svg.hashsalt": ascii(label)})
        axes = Figure(figsize=INCHES).add_axes((0.17, 0.13, 0.79, 0.83))
        axes.set_xlim(0, last_step)
        axes.tick_params(length=0)
        axes.spines[["top", "left", "right"]].set_visible(False)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 20k, 1M
        axes.yaxis.set_major_formatter(lambda value, _: _number(value))
        yield axes


def _number(value: float) -> str:
    """Return a tick's value in few letters: 0.05, 1e-5 instead of 1e-05."""
    return re.sub(r"e([+-])0*", lambda found: "e" + found[1].strip("+"), f"{value:.4g}")


def _log_ticks(low: float, high: float) -> tuple[int, ...]:
    """Return which multiples of the powers of ten are ticks of an axis: more of them where it spans few."""
    return (1,) if high >= 100 * low else (1, 2, 5)


def _svg(axes: Axes, label: str) -> str:
    """Return the chart as an element of a page, in the page's colours and letters."""
    file = io.StringIO()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(file, format="svg", transparent=True, metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    drawn = STRIPPED.sub("", file.getvalue()).strip()
    drawn = drawn.replace(MUTED, "var(--muted)").replace(GRID, "var(--grid)")
    drawn = re.sub(r"#03000([0-9a-f])", lambda found: f"var(--s{int(found[1], 16)})", drawn)
    drawn = re.sub(r'<g id="[^"]*"/>\s*', "", drawn)
    drawn = re.sub(r'<g id="[^"]*">', "<g>", drawn)  # these repeat themselves from chart to chart
    _, view, rest = re.split(r'^<svg [^>]*?(viewBox="[^"]*")[^>]*>', drawn, maxsplit=1)
    return f'<svg {view} role="img" aria-label="{escape(label)}">{rest}'


def _series(number: int) -> str:
    """Return the stand-in for the page's colour of a number."""
    return f"#03000{number % NUM_COLOURS:x}"
