"""Loss and rewards of a run as PNG.

Figures are made without pyplot, which keeps global state, and with margins that are known: laying them out
(`layout="constrained"`) takes as long as drawing them.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.console import warn
from rlguide.plotting import no_plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGINS = {"left": 0.12, "right": 0.97, "top": 0.93, "hspace": 0.2}  # in shares of the figure


def preload_plots() -> None:
    """Import matplotlib in the background while the engine trains, so that the end does not wait for it."""
    threading.Thread(target=import_figure, daemon=True).start()


def import_figure() -> type[Figure] | None:
    """matplotlib's Figure with its PNG writer; None where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.backends.backend_agg")
        figure: type[Figure] = importlib.import_module("matplotlib.figure").Figure
    except ImportError:
        return None
    return figure


def plot_run(rows: list[dict[str, Any]], folder: Path, start: float | None = None) -> list[Path]:
    """Draw `loss.png` and `rewards.png` from the rows of `metrics.jsonl`; returns what was drawn.

    `start` is the loss of a policy that equals its reference, drawn as a line. Nothing is drawn from fewer than
    two logged steps, or without matplotlib.
    """
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "eval_loss" in row]
    if len(train) < 2:
        return []
    new_figure = import_figure()
    if new_figure is None:
        warn(no_plots())
        return []
    loss = new_figure(figsize=(8, 4.5))
    _draw_loss(loss, train, held_out, start)
    drawn = [save_figure(loss, folder / "loss.png")]
    if any("rewards/chosen" in row for row in train):
        rewards = new_figure(figsize=(8, 7))
        _draw_rewards(rewards, train, held_out)
        drawn.append(save_figure(rewards, folder / "rewards.png"))
    return drawn


def plot_checkpoints(points: list[dict[str, Any]], folder: Path) -> Path | None:
    """Draw `checkpoints.png`: instructions and held-out margin over KL; None without matplotlib.

    A point has `step`, `kl`, `instructions` (an estimate as JSON) and `margin`.
    """
    new_figure = import_figure()
    if new_figure is None:
        warn(no_plots())
        return None
    figure = new_figure(figsize=(8, 7))
    shares, margins = figure.subplots(2, 1, sharex=True, gridspec_kw={**_MARGINS, "bottom": 0.08})
    points = sorted(points, key=lambda point: point["kl"])
    values = [point["instructions"]["value"] for point in points]
    errors = [
        [abs(point["instructions"][f"ci95_{end}"] - point["instructions"]["value"]) for point in points]
        for end in ("low", "high")
    ]
    shares.errorbar([point["kl"] for point in points], values, yerr=errors, fmt="o-", capsize=3)
    for point, value in zip(points, values, strict=True):
        shares.annotate(str(point["step"]), (point["kl"], value), textcoords="offset points", xytext=(4, 4))
    shares.set(title="Checkpoints, by their steps", ylabel="instructions followed")
    logged = [point for point in points if point["margin"] is not None]
    margins.plot([point["kl"] for point in logged], [point["margin"] for point in logged], "o-", color="tab:orange")
    margins.set(xlabel="KL from the parent, nats per response", ylabel="held-out margin")
    for axes in (shares, margins):
        axes.grid(alpha=0.3)
    return save_figure(figure, folder / "checkpoints.png")


def _series(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), (int, float))]
    return [step for step, _ in points], [value for _, value in points]


def _draw_loss(
    figure: Figure, train: list[dict[str, Any]], held_out: list[dict[str, Any]], start: float | None
) -> None:
    axes = figure.subplots(gridspec_kw={**_MARGINS, "bottom": 0.12})
    axes.plot(*_series(train, "loss"), label="training", color="tab:blue", linewidth=1.2)
    if held_out:
        axes.plot(*_series(held_out, "eval_loss"), "o-", label="held out", color="tab:orange")
    if start is not None:
        axes.axhline(start, color="grey", linestyle=":", linewidth=1, label=f"{start:.4g}: no preference learnt")
    axes.set(title="Loss", xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_rewards(figure: Figure, train: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    rewards, accuracy = figure.subplots(2, 1, sharex=True, gridspec_kw={**_MARGINS, "bottom": 0.08})
    for key, colour in (("chosen", "tab:green"), ("rejected", "tab:red"), ("margins", "tab:blue")):
        name = "margin" if key == "margins" else key
        rewards.plot(*_series(train, f"rewards/{key}"), label=name, color=colour, linewidth=1.2)
        if held_out:
            label = f"{name}, held out"
            rewards.plot(*_series(held_out, f"eval_rewards/{key}"), "o--", label=label, color=colour, alpha=0.6)
    rewards.axhline(0, color="grey", linestyle=":", linewidth=1)
    rewards.set(title="Rewards: pref_beta x log(policy / reference)", ylabel="reward")
    rewards.legend(ncols=2, fontsize="small")
    accuracy.plot(*_series(train, "rewards/accuracies"), label="training", color="tab:blue", linewidth=1.2)
    if held_out:
        accuracy.plot(*_series(held_out, "eval_rewards/accuracies"), "o-", label="held out", color="tab:orange")
    accuracy.axhline(0.5, color="grey", linestyle=":", linewidth=1, label="chance")
    accuracy.set(title="Reward accuracy: share of pairs with chosen above rejected", xlabel="step", ylim=(-0.02, 1.02))
    accuracy.legend(fontsize="small")
    for axes in (rewards, accuracy):
        axes.grid(alpha=0.3)


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG in one piece; returns the file."""
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
    return path
