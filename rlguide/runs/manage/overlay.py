"""The curves of several runs as one PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlguide.console import warn
from rlguide.plotting import no_plots
from rlguide.runs.curves import Panel
from rlguide.runs.plots import import_figure, save_figure

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")


def plot_overlay(panels: Sequence[Panel], labels: Sequence[str], path: Path) -> Path | None:
    """Draw panels one above the other, a colour for each run, held-out points with marks.

    Args:
        labels: of the runs, with which the labels of their lines begin.

    Returns:
        The file; None without matplotlib (it is said), or with nothing to draw.
    """
    if not panels:
        return None
    make = import_figure()
    if make is None:
        warn(no_plots())
        return None
    height = 2.6 * len(panels)
    figure = make(figsize=(9, height))
    edge = 0.45 / height
    grid = {"left": 0.1, "right": 0.97, "top": 1 - edge, "bottom": 1.2 * edge, "hspace": 0.35}
    for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False, gridspec_kw=grid)[:, 0], panels, strict=True):
        for line in panel.lines:
            run = max((label for label in labels if line.label.startswith(label)), key=len, default=labels[0])
            style = {"linestyle": "--", "marker": "o", "markersize": 3.5} if line.held_out else {"linewidth": 1.2}
            number = list(labels).index(run)
            name = _drawable(run, number) + line.label.removeprefix(run) + (", held out" if line.held_out else "")
            colour = _COLOURS[number % len(_COLOURS)]
            alpha = 0.5 if line.label.endswith("rejected") else 1.0
            axes.plot(*zip(*line.points, strict=True), label=name, color=colour, alpha=alpha, **style)
        axes.set(title=panel.title, xlabel="step" if panel is panels[-1] else "")
        axes.grid(alpha=0.3)
        if panel.lines:
            axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_figure(figure, path)


def _drawable(label: str, number: int) -> str:
    """A label as matplotlib's own font can draw it, in a legend, which leaves out what begins with "_"."""
    return label if label.isascii() and label.isprintable() and label[:1] != "_" else f"run {number + 1}"
