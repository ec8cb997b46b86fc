"""The rows of the table of an evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rlguide.statistics import Estimate


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
