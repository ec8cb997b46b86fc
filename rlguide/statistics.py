"""Figures with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % confidence interval, from `n` observations."""

    value: float
    low: float
    high: float
    n: int

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return {"value": self.value, "ci95_low": self.low, "ci95_high": self.high, "count": self.n}


@dataclass(frozen=True)
class Proportion(Estimate):
    """An estimated probability: `value` is `hits` of `n`."""

    hits: int


def proportion(hits: int, n: int) -> Proportion:
    """`hits` of `n` with Wilson's interval (E. B. Wilson, JASA 22, 1927), which holds near 0 and 1 and for small `n`.

    Raises:
        ValueError: `n` is not positive or `hits` not within 0..n.
    """
    if n <= 0 or not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a proportion")
    value = hits / n
    shrink = 1 + Z95**2 / n
    centre = (value + Z95**2 / (2 * n)) / shrink
    half = Z95 * math.sqrt(value * (1 - value) / n + Z95**2 / (4 * n**2)) / shrink
    # Exact at the ends, where rounding would put the value just outside its own interval.
    low = max(0.0, centre - half) if hits else 0.0
    high = min(1.0, centre + half) if hits < n else 1.0
    return Proportion(value, low, high, n, hits)


def mean(values: Sequence[float]) -> Estimate:
    """A mean with the normal interval, 1.96 standard errors either side; infinitely wide for a single value.

    Raises:
        ValueError: no values.
    """
    n = len(values)
    if n == 0:
        raise ValueError("the mean of nothing")
    centre = math.fsum(values) / n
    if n == 1:
        return Estimate(centre, -math.inf, math.inf, 1)
    variance = math.fsum((value - centre) ** 2 for value in values) / (n - 1)
    half = Z95 * math.sqrt(variance / n)
    return Estimate(centre, centre - half, centre + half, n)
