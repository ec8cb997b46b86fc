"""What is known of a run in words: its figures by their names, times, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from rlguide.runs.metrics import without_ties

# (key in the metrics, its name on screen, its format)
SHOWN = (
    ("loss", "loss", "{:.4f}"),
    ("rewards/accuracies", "reward accuracy", "{:.2f}"),
    ("rewards/chosen", "chosen", "{:+.3f}"),
    ("rewards/rejected", "rejected", "{:+.3f}"),
    ("rewards/margins", "margin", "{:+.3f}"),
    ("kl", "KL", "{:.3f}"),
    ("reward", "reward", "{:+.3f}"),
    ("learning_rate", "lr", "{:.1e}"),
    ("tokens_per_second", "tokens/s", "{:,.0f}"),
    ("eval_loss", "held-out loss", "{:.4f}"),
    ("eval_rewards/accuracies", "held-out accuracy", "{:.2f}"),
    ("eval_accuracy", "held-out accuracy", "{:.2f}"),
    ("eval_rewards/margins", "held-out margin", "{:+.3f}"),
)


def figures(row: Mapping[str, float]) -> list[str]:
    """The known metrics of a row, each as "name value"."""
    return [f"{name} {form.format(row[key])}" for key, name, form in SHOWN if key in without_ties(row)]


def clock(seconds: float) -> str:
    """A duration as h:mm:ss, with days in front where it takes any."""
    return str(timedelta(seconds=int(max(0.0, min(seconds, 1e9)))))
