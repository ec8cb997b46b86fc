"""Lengths and scores of a dataset as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from rlguide.data.inspect.bins import Binned, Spread, lengths, spreads
from rlguide.plotting import can_plot

if TYPE_CHECKING:
    from rlguide.data.inspect.collect import Collector


INK = "#7a7a7a"
CHOSEN, REJECTED, OTHER = "#2a9d5c", "#d1495b", "#3b7dd8"
_COLOURS = {"prompt": OTHER, "chosen": CHOSEN, "response": CHOSEN, "rejected": REJECTED}


def draw(collector: Collector) -> dict[str, bytes]:
    """`lengths`, `length_difference` and `margins` as PNG files, as far as there is anything to draw."""
    if not can_plot():
        return {}
    pictures: dict[str, bytes] = {}
    if found := lengths(collector):
        pictures["lengths"] = _lengths(found)
    return {**pictures, **{name: _histogram(spread) for name, spread in spreads(collector).items()}}


def _lengths(found: Sequence[Binned]) -> bytes:
    figure, axes = _axes()
    for item in found:
        dots = ":" if item.label == "prompt" else "-"
        style: dict[str, Any] = {"color": _COLOURS[item.label], "linewidth": 1.8, "linestyle": dots}
        axes.stairs(item.counts, item.edges, **style)
        axes.plot([], [], label=f"{item.label}, median {item.median:,.0f}", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(title="Length", xlabel="characters", ylabel="rows")
    return _png(figure, axes)


def _histogram(spread: Spread) -> bytes:
    import numpy as np

    figure, axes = _axes()
    counts, edges, median = spread.binned.counts, spread.binned.edges, spread.binned.median
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [CHOSEN if centre > 1e-12 else REJECTED if centre < -1e-12 else INK for centre in centres]
    axes.bar(centres, counts, width=np.diff(edges) * 0.92, color=colours)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(median, color=OTHER, linestyle="--", linewidth=1.4, label=f"median {median:,.3g}")
    axes.set(title=spread.title, xlabel=f"{spread.label}; the outermost 0.5 % stand at the edge", ylabel="pairs")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    return _png(figure, axes)


def _axes() -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and looks for a display

    figure = Figure(figsize=(6.6, 3.7), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Any, axes: Any) -> bytes:
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, labelcolor="linecolor", fontsize="small")
    memory = BytesIO()
    figure.savefig(memory, dpi=120, format="png")
    return memory.getvalue()
