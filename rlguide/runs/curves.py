"""Which figures of a run are drawn together, for the terminal, the report and the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlguide.runs.metrics import without_ties


@dataclass(frozen=True)
class Line:
    """One line of a panel: (step, value) points. `held_out`: points of evaluations instead of training logs."""

    label: str
    held_out: bool
    points: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Panel:
    """Lines that share an axis."""

    title: str
    lines: tuple[Line, ...]


# (title, ((key in metrics.jsonl, label), ...)); the same keys with "eval_" before them are of held-out data.
_PANELS = (
    ("loss", (("loss", ""),)),
    ("reward accuracy", (("rewards/accuracies", ""), ("accuracy", ""))),
    ("margin", (("rewards/margins", ""),)),
    ("rewards", (("rewards/chosen", "chosen"), ("rewards/rejected", "rejected"), ("reward", "reward"))),
    ("KL", (("kl", ""),)),
    ("tokens/s", (("tokens_per_second", ""),)),
    ("gradient norm", (("grad_norm", ""),)),
    ("learning rate", (("learning_rate", ""),)),
)


def panels(rows: Sequence[Mapping[str, float]]) -> list[Panel]:
    """The panels for which there are figures.

    Args:
        rows: of `metrics.jsonl`, each with its `step`; of a run that is watched also with `tokens_per_second`.
    """
    found = []
    rows = [without_ties(row) for row in rows]
    for title, keys in _PANELS:
        lines = [
            Line(label or title, bool(group), points)
            for key, label in keys
            for group in ("", "eval_")
            if (points := tuple((int(row["step"]), row[group + key]) for row in rows if group + key in row))
        ]
        if lines:
            found.append(Panel(title, tuple(lines)))
    return found
