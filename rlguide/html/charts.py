"""Lines and bars as what a template needs to draw them as SVG: paths in a fixed box, and the labels of its axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

LAST = 1e15  # points from there on are not drawn
WIDTH, HEIGHT = 1000, 300  # of the box, which the page stretches to the room that there is
_POINTS = 600  # of a line that are drawn: more than there are pixels on a phone, and on most screens
STRETCHES = 60  # of a line of many points, whose medians are drawn, too
_CENTRAL = 0.98  # share of the values that the axis always shows
_FAR = 12.0  # times their spread: what lies further away is cut off instead of flattening the rest

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """What is to be drawn: (x, y) points in the order of x. `is_dotted`: few measurements, each with a dot."""

    label: str
    points: Points
    colour: int = 1
    is_dotted: bool = False


@dataclass(frozen=True)
class Drawn:
    """A series as drawn: SVG paths of its line and its dots ("" without one), and the text of its last value.

    Attributes:
        middle: path of the medians of `STRETCHES` parts of a line of many points; "" of others.
        values: (x, text) in the order of x, for a reader that points at the chart.
    """

    label: str
    colour: int
    is_dotted: bool
    line: str
    dots: str
    last: str
    values: list[tuple[float, str]] = field(repr=False)
    middle: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart as a template draws it.

    Attributes:
        y_labels: from the top, equally far apart; `grid`: the heights of their lines in the box.
        x_labels: from the left, equally far apart.
        zero: the height of y = 0 in the box; None where that is at an edge or outside.
        end: the x of the right edge; the left one is 0.
        outside: points that lie beyond the axis.
        bars: SVG path of bars by colour.
        label: of the x axis.
    """

    title: str
    y_labels: tuple[str, ...]
    grid: tuple[float, ...]
    x_labels: tuple[str, ...]
    series: tuple[Drawn, ...] = ()
    zero: float | None = None
    end: float = 1.0
    outside: int = 0
    bars: tuple[tuple[int, str], ...] = ()
    label: str = ""


def line_chart(title: str, series: Sequence[Series], end: float | None = None) -> Chart | None:
    """A chart of lines from x = 0; None where there is nothing finite to draw.

    Args:
        end: x of the right edge; the last x by default.
    """
    finite = [(item, [point for point in item.points if _can_be_drawn(*point)]) for item in series]
    finite = [(item, points) for item, points in finite if points]
    if not finite:
        return None
    right = max(*(x for _, points in finite for x, _ in points), end or 0, 1)
    ticks = _ticks(*_span([y for _, points in finite for _, y in points]))
    bottom, top = ticks[0], ticks[-1]

    def place(x: float, y: float) -> tuple[float, float]:
        return x / right * WIDTH, (top - min(max(y, bottom), top)) / (top - bottom) * HEIGHT

    slack = (top - bottom) * 1e-9
    outside = sum(not bottom - slack <= y <= top + slack for _, points in finite for _, y in points)
    drawn = tuple(_drawn(item, points, place) for item, points in finite)
    heights = tuple(_round(place(0, tick)[1]) for tick in reversed(ticks))
    zero = _round(place(0, 0)[1]) if bottom < 0 < top else None
    labels = tuple(tick_labels(ticks)[::-1])
    return Chart(title, labels, heights, _x_labels(right), drawn, zero, right, outside)


def _can_be_drawn(x: float, y: float) -> bool:
    """Whether a point has a place: what a file says may be NaN, infinite, or a whole number of many digits."""
    return 0 <= x < LAST and abs(y) <= 1e300


@dataclass(frozen=True)
class Counts:
    """How much falls into each of equally wide bins. `is_filled`: as bars, else as an outline."""

    label: str
    counts: Sequence[int]
    colour: int
    is_filled: bool = False


def histogram(title: str, series: Sequence[Counts], x_labels: Sequence[str], label: str) -> Chart:
    """A chart of counts in bins; all series have the same bins.

    Args:
        x_labels: equally far apart, from the left edge of the first bin to the right one of the last.
        label: what the x axis is.
    """
    ticks = _ticks(0, max((count for item in series for count in item.counts), default=0) or 1, whole=True)
    top = ticks[-1]
    drawn = tuple(
        Drawn(item.label, item.colour, False, "" if item.is_filled else _outline(item.counts, top), "", "", [])
        for item in series
    )
    bars = tuple((item.colour, "".join(_bars(item.counts, top))) for item in series if item.is_filled)
    heights = tuple(_round((top - tick) / top * HEIGHT) for tick in reversed(ticks))
    return Chart(title, tuple(tick_labels(ticks)[::-1]), heights, tuple(x_labels), drawn, bars=bars, label=label)


def _bars(values: Sequence[int], top: float) -> Iterator[str]:
    wide = WIDTH / len(values)
    for place, count in enumerate(values):
        if count:
            tall = _round(count / top * HEIGHT)
            yield f"M{_round((place + 0.06) * wide)} {HEIGHT}v-{tall}h{_round(0.88 * wide)}v{tall}z"


def _outline(values: Sequence[int], top: float) -> str:
    wide = WIDTH / len(values)
    steps = (f"V{_round((top - count) / top * HEIGHT)}H{_round((at + 1) * wide)}" for at, count in enumerate(values))
    return f"M0 {HEIGHT}{''.join(steps)}V{HEIGHT}"


def shown(value: float) -> str:
    """A value of a chart as text, with four digits."""
    return f"{value:.4g}"


def _drawn(item: Series, points: Points, place: Callable[[float, float], tuple[float, float]]) -> Drawn:
    kept = thinned(points)
    places = [tuple(map(_round, place(x, y))) for x, y in kept]
    line = "M" + "L".join(f"{x} {y}" for x, y in places) if len(places) > 1 else ""
    is_dotted = (item.is_dotted and len(places) <= _POINTS // 4) or len(places) == 1
    dots = "".join(f"M{x} {y}h0" for x, y in places) if is_dotted else ""
    texts = [(x, shown(y)) for x, y in kept]
    middles = [tuple(map(_round, place(x, y))) for x, y in medians(points)] if len(points) > _POINTS // 2 else []
    middle = "M" + "L".join(f"{x} {y}" for x, y in middles) if middles and not item.is_dotted else ""
    return Drawn(item.label, item.colour, item.is_dotted, line, dots, shown(points[-1][1]), texts, middle)


def medians(points: Points, parts: int = STRETCHES) -> list[tuple[float, float]]:
    """The medians of stretches of equally many points, each in its middle; a mean would follow a single spike."""
    bounds = [len(points) * part // parts for part in range(parts + 1)]
    stretches = [points[begin:end] for begin, end in pairwise(bounds) if begin < end]
    return [(fmean(x for x, _ in stretch), median(y for _, y in stretch)) for stretch in stretches]


def thinned(points: Points, most: int = _POINTS) -> list[tuple[float, float]]:
    """At most `most` of the points: first, last, and the extremes of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    bounds = [len(points) * part // (most // 2) for part in range(most // 2 + 1)]
    found: dict[int, None] = {0: None}
    for begin, end in pairwise(bounds):
        stretch = range(begin, end)
        low, high = (pick(stretch, key=lambda at: points[at][1]) for pick in (min, max))
        found.update(dict.fromkeys(sorted({low, high})))
    found[len(points) - 1] = None
    return [points[at] for at in sorted(found)]


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From where to where the axis reaches: over all values, unless a few lie so far away that the rest were flat."""
    ordered = sorted(values)
    cut = int(len(ordered) * (1 - _CENTRAL) / 2)
    low, high = ordered[cut], ordered[-1 - cut]
    reach = _FAR * (high - low)
    if reach == 0 or len(ordered) < 2 * _FAR:
        return ordered[0], ordered[-1]
    return max(ordered[0], low - reach), min(ordered[-1], high + reach)


def _ticks(low: float, high: float, whole: bool = False) -> list[float]:
    """Three to six round values, equally far apart, of which the first and the last hold all others between them."""
    if high - low <= max(abs(high) * 1e-9, 1e-300):
        pad = abs(high) * 0.1 or 0.5
        low, high = low - pad, high + pad
    rough = (high - low) / 3
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough * 0.999)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * at for at in range(first, max(last, first + 1) + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """The values of an axis as text, all with as many decimals; in powers of ten where they are very large or small."""
    step = ticks[1] - ticks[0]
    largest = max(abs(tick) for tick in ticks)
    if step < 1e-3 or largest >= 1e6:
        digits = max(3, math.ceil(math.log10(largest / step)) + 1)
        return ["0" if tick == 0 else f"{tick:.{digits}g}" for tick in ticks]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    decimals += abs(round(step, decimals) - step) > step * 1e-6
    return [f"{tick + 0.0:,.{decimals}f}" for tick in ticks]


def _x_labels(right: float) -> tuple[str, ...]:
    """Of whole steps: the ends and the middle, where there is one."""
    middle = (f"{right / 2:,.0f}",) if right >= 4 else ()
    return ("0", *middle, f"{right:,.0f}")


def _round(value: float) -> float | int:
    """To a tenth, without a needless point: a path has many numbers."""
    found = round(value, 1)
    return int(found) if found == int(found) else found
