"""What the rewards of a file come to."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rlguide.evaluation.rewards.model import Scored
from rlguide.statistics import Estimate, Proportion, mean, wins


@dataclass
class Summary:
    """Figures of the rewards, gathered row by row: eight bytes are kept of each.

    Attributes:
        rows: of the file.
        cut: rows of which tokens were left out, as training leaves them out.
        unscored: rows without a reward, by why.
    """

    reward_model: str
    rows: int = 0
    cut: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    _chosen: array[float] = field(default_factory=lambda: array("d"), repr=False)  # or the only response
    _rejected: array[float] = field(default_factory=lambda: array("d"), repr=False)

    def add(self, found: Scored) -> None:
        """Count a row."""
        self.rows += 1
        if not found.rewards:
            self.unscored[found.why] += 1
            return
        self.cut += found.cut > 0
        self._chosen.append(found.rewards[0])
        self._rejected.extend(found.rewards[1:])

    @property
    def scored(self) -> int:
        """Rows with a reward."""
        return len(self._chosen)

    @property
    def accuracy(self) -> Proportion | None:
        """The share of pairs whose chosen response has the higher reward, ties as half; None where there is no pair."""
        return wins(self._margins)[0] if self._rejected else None

    @property
    def _margins(self) -> list[float]:
        return [one - other for one, other in zip(self._chosen, self._rejected, strict=True)]

    @property
    def rewards(self) -> dict[str, tuple[Estimate, float]]:
        """The mean and the standard deviation of each kind of reward, by its name; {} where none was given."""
        if not self._chosen:
            return {}
        named: dict[str, Sequence[float]] = {"reward": self._chosen}
        if self._rejected:
            named = {"chosen reward": self._chosen, "rejected reward": self._rejected, "margin": self._margins}
        return {name: (mean(values), _deviation(values)) for name, values in named.items()}

    def as_dict(self) -> dict[str, Any]:
        """For JSON. A deviation is null where it has no meaning."""
        rewards = {
            name.replace(" ", "_"): {**found.as_dict(), "standard_deviation": None if math.isnan(spread) else spread}
            for name, (found, spread) in self.rewards.items()
        }
        accuracy = self.accuracy
        return {
            "reward_model": self.reward_model,
            "rows": self.rows,
            "scored": self.scored,
            "unscored": dict(self.unscored),
            "cut": self.cut,
            **rewards,
            **({"accuracy": accuracy.as_dict()} if accuracy else {}),
        }

    def lines(self) -> list[str]:
        """The same for a person."""
        lines = [f"{self.scored:,} of {self.rows:,} rows scored by {self.reward_model}"]
        lines += [f"  no reward: {count:,} (null), {why}" for why, count in self.unscored.most_common()]
        if self.scored:
            share = self.cut / self.scored
            lines.append(f"  cut, as in training: {self.cut:,} rows ({share:.1%})")
        for name, (found, spread) in self.rewards.items():
            lines.append(
                f"  {name}: mean {found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}), "
                f"standard deviation {spread:.4f}"
            )
        if accuracy := self.accuracy:
            lines.append(
                f"  accuracy: {accuracy.value:.4f} ({accuracy.low:.4f} to {accuracy.high:.4f}), 95 % intervals"
            )
        return lines


def _deviation(values: Sequence[float]) -> float:
    """The standard deviation of a sample; NaN for a single value."""
    if len(values) < 2:
        return math.nan
    centre = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
