"""The rows of the table of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rlguide.statistics import Estimate, finite, read_estimate


@dataclass(frozen=True)
class Line:
    """A figure of both models and how far they are apart, with the 95 % interval of that.

    Attributes:
        goal: "more" or "less" of it is better; "" if neither is by itself.
        interval: how the interval was found; "" where there is none, and that of `difference` is infinite.
        digits: after the point, for people.
    """

    name: str
    parent: float
    tuned: float
    difference: Estimate
    goal: str
    interval: str
    digits: int = 3
    unit: str = ""

    @property
    def is_better(self) -> bool | None:
        """Whether the tuned model is better by this figure; None where the interval includes 0, or there is no goal."""
        if not self.goal or self.difference.low <= 0 <= self.difference.high:
            return None
        return (self.difference.value > 0) == (self.goal == "more")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        difference: dict[str, float | int | None] = {**self.difference.as_dict()}
        if not self.interval:
            difference.update(ci95_low=None, ci95_high=None)
        return {**asdict(self), "difference": difference}


KL_PER_RESPONSE = "KL per response"
# What figures were called by an earlier rlguide, whose evaluations are still read.
_EARLIER = {"KL an answer": KL_PER_RESPONSE, "KL a token": "KL per token", "length of answers": "length of responses"}


def read_line(value: Any) -> Line | None:
    """The row that `Line.as_dict` gave, read back from a file; None if it is none."""
    if not isinstance(value, Mapping):
        return None
    difference, texts = read_estimate(value.get("difference")), [value.get(key) for key in _TEXTS]
    parent, tuned = (finite(value.get(key)) for key in ("parent", "tuned"))
    if difference is None or parent is None or tuned is None or not all(isinstance(text, str) for text in texts):
        return None
    name, goal, interval, unit = map(str, texts)
    given = value.get("digits")
    digits = given if type(given) is int and 0 <= given <= 12 else 3
    return Line(_EARLIER.get(name, name), parent, tuned, difference, goal, interval, digits, unit)


_TEXTS = ("name", "goal", "interval", "unit")
# Of pairs, with what the reference has of it; None: the loss of the reference. The goal, and how the interval is found.
_OF_PAIRS = {
    "reward accuracy": ("accuracy", 0.5, "more", "Clopper-Pearson"),
    "margin": ("margin", 0.0, "more", "normal"),
    "loss": ("loss", None, "less", "normal"),
    "chosen reward": ("chosen_reward", 0.0, "", "normal"),
    "rejected reward": ("rejected_reward", 0.0, "", "normal"),
}


def lines_of_pairs(figures: Mapping[str, Estimate], loss_of_reference: float | None) -> list[Line]:
    """The rows of held-out pairs: rewards of the parent, which is the reference, are known.

    Args:
        figures: by the names of the fields of `pairs.Evaluation`; those that are missing are left out.
        loss_of_reference: None where it is not known; then the row of the loss is left out.
    """
    found = []
    for name, (key, known, goal, interval) in _OF_PAIRS.items():
        parent, tuned = loss_of_reference if known is None else known, figures.get(key)
        if parent is not None and tuned is not None:
            difference = Estimate(tuned.value - parent, tuned.low - parent, tuned.high - parent, tuned.n)
            found.append(Line(name, parent, tuned.value, difference, goal, interval, digits=4))
    return found
