"""Loss and rewards of a run as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def plot_run(rows: list[dict[str, Any]], folder: Path, start: float | None = None) -> list[Path]:
    """Draw `loss.png` and `rewards.png` from the rows of `metrics.jsonl`; returns what was drawn.

    `start` is the loss of a policy that equals its reference, drawn as a line. Nothing is drawn from fewer than
    two logged steps.
    """
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "eval_loss" in row]
    if len(train) < 2:
        return []
    import matplotlib

    matplotlib.use("Agg")  # no display is needed
    drawn = [_plot_loss(train, held_out, folder / "loss.png", start)]
    if any("rewards/chosen" in row for row in train):
        drawn.append(_plot_rewards(train, held_out, folder / "rewards.png"))
    return drawn


def _series(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(row["step"], row[key]) for row in rows if isinstance(row.get(key), (int, float))]
    return [step for step, _ in points], [value for _, value in points]


def _plot_loss(train: list[dict[str, Any]], held_out: list[dict[str, Any]], path: Path, start: float | None) -> Path:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axes.plot(*_series(train, "loss"), label="training", color="tab:blue", linewidth=1.2)
    if held_out:
        axes.plot(*_series(held_out, "eval_loss"), "o-", label="held out", color="tab:orange")
    if start is not None:
        axes.axhline(start, color="grey", linestyle=":", linewidth=1, label=f"{start:.4g}: no preference learnt")
    axes.set(title="Preference loss", xlabel="step", ylabel="loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return _save(figure, path)


def _plot_rewards(train: list[dict[str, Any]], held_out: list[dict[str, Any]], path: Path) -> Path:
    from matplotlib import pyplot as plt

    figure, (rewards, accuracy) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
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
    return _save(figure, path)


def _save(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot as plt

    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)
    plt.close(figure)
    return path
