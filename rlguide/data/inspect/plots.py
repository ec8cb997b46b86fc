"""Lengths and scores of a dataset as PNG."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rlguide.data.inspect.collect import Collector


INK = "#7a7a7a"  # read on white and on black: the pictures have no background of their own within the page
CHOSEN, REJECTED, OTHER = "#2a9d5c", "#d1495b", "#3b7dd8"


def draw(collector: Collector, transparent: bool = False) -> dict[str, bytes]:
    """`lengths`, `length_difference` and `margins` as PNG files, as far as there is anything to draw."""
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    pictures: dict[str, bytes] = {}
    chosen, rejected = collector.lengths("chosen"), collector.lengths("rejected")
    if len(chosen):
        pictures["lengths"] = _lengths(collector, transparent)
    if len(rejected):
        difference = chosen - rejected
        title = "Length difference in a pair: chosen minus rejected"
        pictures["length_difference"] = _histogram(difference, title, "characters", "shorter | longer", transparent)
    values = collector.score_margins()
    if len(values):
        title = "Score margin: chosen minus rejected"
        pictures["margins"] = _histogram(values, title, "margin", "rejected higher | chosen higher", transparent)
    return pictures


def _lengths(collector: Collector, transparent: bool) -> bytes:
    import numpy as np

    figure, axes = _axes(transparent)
    series = {"prompt": OTHER, "chosen": CHOSEN, "rejected": REJECTED}
    lengths = {name: collector.lengths(name) for name in series}
    longest = max(float(values.max()) for values in lengths.values() if len(values))
    edges = np.geomspace(1, max(longest, 10) * 1.01, 60)
    for name, values in lengths.items():
        if not len(values):
            continue
        label = "answer" if name == "chosen" and not len(lengths["rejected"]) else name
        style: dict[str, Any] = {"linestyle": ":"} if name == "prompt" else {}
        axes.hist(np.maximum(values, 1), bins=edges, histtype="step", color=series[name], linewidth=1.8, **style)
        median = f"median {np.median(values):,.0f}"
        axes.plot([], [], color=series[name], linewidth=1.8, label=f"{label}, {median}", **style)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set(title="Length", xlabel="characters", ylabel="rows")
    _finish(figure, axes)
    return _png(figure, transparent)


def _histogram(values: NDArray[Any], title: str, label: str, sides: str, transparent: bool) -> bytes:
    import numpy as np

    figure, axes = _axes(transparent)
    low, high = (float(point) for point in np.quantile(values, (0.005, 0.995)))
    reach = max(abs(low), abs(high), 1e-9)
    clipped = np.clip(values, -reach, reach)
    counts, edges = np.histogram(clipped, bins=np.linspace(-reach, reach, 62))
    centres = (edges[:-1] + edges[1:]) / 2
    colours = [CHOSEN if centre > 1e-12 else REJECTED if centre < -1e-12 else INK for centre in centres]
    axes.bar(centres, counts, width=np.diff(edges) * 0.92, color=colours)
    axes.axvline(0, color=INK, linewidth=1)
    median = float(np.median(values))
    axes.axvline(median, color=OTHER, linestyle="--", linewidth=1.4, label=f"median {median:,.3g}")
    axes.set(title=title, xlabel=f"{label} ({sides}); the outermost 0.5 % stand at the edge", ylabel="pairs")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    _finish(figure, axes)
    return _png(figure, transparent)


def _axes(transparent: bool) -> tuple[Any, Any]:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.6, 3.7), layout="constrained")
    if transparent:
        axes.tick_params(colors=INK)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            text.set_color(INK)
        for spine in axes.spines.values():
            spine.set_color(INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _finish(figure: Any, axes: Any) -> None:
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, labelcolor="linecolor", fontsize="small")


def _png(figure: Any, transparent: bool) -> bytes:
    from matplotlib import pyplot as plt

    memory = BytesIO()
    figure.savefig(memory, dpi=120, format="png", transparent=transparent)
    plt.close(figure)
    return memory.getvalue()
