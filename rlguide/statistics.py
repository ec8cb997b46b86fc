"""Figures with their uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Two-sided 95 % quantile of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % confidence interval, from `count` observations."""

    value: float
    low: float
    high: float
    count: int

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return {"value": self.value, "ci95_low": self.low, "ci95_high": self.high, "count": self.count}


def proportion(hits: int, count: int) -> Estimate:
    """A share with Wilson's interval (E. B. Wilson, JASA 22, 1927), which stays right near 0 and 1 and for few pairs.

    Raises:
        ValueError: `count` is not positive or `hits` not within 0..count.
    """
    if count <= 0 or not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count} is no proportion")
    share = hits / count
    shrink = 1 + Z95**2 / count
    centre = (share + Z95**2 / (2 * count)) / shrink
    half = Z95 * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2)) / shrink
    # Exact at the ends, where rounding would put the share just outside its own interval.
    return Estimate(
        share, max(0.0, centre - half) if hits else 0.0, min(1.0, centre + half) if hits < count else 1.0, count
    )


def mean(values: Sequence[float]) -> Estimate:
    """A mean with the normal interval, 1.96 standard errors either side; infinitely wide for a single value.

    Raises:
        ValueError: no values.
    """
    count = len(values)
    if count == 0:
        raise ValueError("the mean of nothing")
    centre = math.fsum(values) / count
    if count == 1:
        return Estimate(centre, -math.inf, math.inf, 1)
    variance = math.fsum((value - centre) ** 2 for value in values) / (count - 1)
    half = Z95 * math.sqrt(variance / count)
    return Estimate(centre, centre - half, centre + half, count)


@dataclass(frozen=True)
class Share:
    """`count` of `rows`, with a 95 % interval."""

    count: int
    rows: int
    share: float
    low: float
    high: float


def share(count: int, rows: int) -> Share | None:
    """A share with its Wilson interval, None of no rows."""
    if not rows:
        return None
    z, part = 1.959964, count / rows
    scale = 1 + z * z / rows
    middle = (part + z * z / (2 * rows)) / scale
    half = z * math.sqrt(part * (1 - part) / rows + z * z / (4 * rows * rows)) / scale
    return Share(count, rows, part, max(0.0, min(part, middle - half)), min(1.0, max(part, middle + half)))
