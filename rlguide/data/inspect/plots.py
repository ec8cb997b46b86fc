"""Lengths and scores of a dataset as PNG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from rlguide.plotting import can_plot

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlguide.data.inspect.collect import Collector


INK = "#7a7a7a"  # read on white and on black: the pictures have no background of their own within the page
CHOSEN, REJECTED, OTHER = "#2a9d5c", "#d1495b", "#3b7dd8"
# On the page, which may be light or dark.
TRANSPARENT = {
    "savefig.transparent": True,
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def draw(collector: Collector, transparent: bool = False) -> dict[str, bytes]:
    """`lengths`, `length_difference` and `margins` as PNG files, as far as there is anything to draw."""
    if not can_plot():
        return {}
    import matplotlib

    pictures: dict[str, bytes] = {}
    chosen, rejected = collector.lengths("chosen"), collector.lengths("rejected")
    margins = collector.score_margins()
    with matplotlib.rc_context(TRANSPARENT if transparent else {}):
        if len(chosen):
            pictures["lengths"] = _lengths(collector)
        if len(rejected):
            title = "Length difference in a pair: chosen minus rejected"
            pictures["length_difference"] = _histogram(chosen - rejected, title, "characters (shorter | longer)")
        if len(margins):
            title = "Score margin: chosen minus rejected"
            pictures["margins"] = _histogram(margins, title, "margin (rejected higher | chosen higher)")
    return pictures


def _lengths(collector: Collector) -> bytes:
    import numpy as np

    figure, axes = _axes()
    series = {"prompt": OTHER, "chosen": CHOSEN, "rejected": REJECTED}
    lengths = {name: collector.lengths(name) for name in series}
    longest = max(float(values.max()) for values in lengths.values() if len(values))
    edges = np.geomspace(1, max(longest, 10) * 1.01, 60)
    for name, values in lengths.items():
        if not len(values):
            continue
        label = "response" if name == "chosen" and not len(lengths["rejected"]) else name
        style: dict[str, Any] = {"color": series[name], "linewidth": 1.8, "linestyle": ":" if name == "prompt" else "-"}
        axes.hist(np.maximum(values, 1), bins=edges, histtype="step", **style)
        axes.plot([], [], label=f"{label}, median {np.median(values):,.0f}", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(title="Length", xlabel="characters", ylabel="rows")
    return _png(figure, axes)


def _histogram(values: NDArray[Any], title: str, label: str) -> bytes:
    import numpy as np

    figure, axes = _axes()
    low, high = (float(point) for point in np.quantile(values, (0.005, 0.995)))
    reach = max(abs(low), abs(high), 1e-9)
    counts, edges = np.histogram(np.clip(values, -reach, reach), bins=np.linspace(-reach, reach, 62))
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [CHOSEN if centre > 1e-12 else REJECTED if centre < -1e-12 else INK for centre in centres]
    axes.bar(centres, counts, width=np.diff(edges) * 0.92, color=colours)
    axes.axvline(0, color=INK, linewidth=1)
    median = float(np.median(values))
    axes.axvline(median, color=OTHER, linestyle="--", linewidth=1.4, label=f"median {median:,.3g}")
    axes.set(title=title, xlabel=f"{label}; the outermost 0.5 % stand at the edge", ylabel="pairs")
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
