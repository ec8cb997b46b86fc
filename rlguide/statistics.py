"""Figures with their uncertainty."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def read_estimate(value: Any) -> Estimate | None:
    """The estimate that `Estimate.as_dict` gave, read back; None if it is none. An interval of None is infinite."""
    if not isinstance(value, Mapping):
        return None
    found, n = finite(value.get("value")), value.get("count")
    if found is None or type(n) is not int:
        return None
    ends = [value.get(key) for key in ("ci95_low", "ci95_high")]
    infinite = (None, -math.inf, math.inf)
    low, high = (known if end in infinite else finite(end) for end, known in zip(ends, infinite[1:], strict=True))
    return None if low is None or high is None else Estimate(found, low, high, n)


def finite(value: object) -> float | None:
    """A number that was read from a file; None if it is none, NaN, infinite, or too large to calculate with."""
    return float(value) if isinstance(value, int | float) and type(value) is not bool and abs(value) < 1e300 else None


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


def exact_proportion(hits: int, n: int) -> Proportion:
    """`hits` of `n` with the exact interval (C. J. Clopper, E. S. Pearson, Biometrika 26, 1934).

    It covers the true value in at least 95 of 100 cases for every `n`, so 4 of 4 does not exclude one half.

    Raises:
        ValueError: `n` is not positive or `hits` not within 0..n.
    """
    if n <= 0 or not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is not a proportion")
    low = _solve(lambda p: 1 - _binomial_at_most(hits - 1, n, p)) if hits else 0.0
    high = _solve(lambda p: 1 - _binomial_at_most(hits, n, p), 0.975) if hits < n else 1.0
    return Proportion(hits / n, low, high, n, hits)


def wins(margins: Sequence[float]) -> tuple[Proportion, int]:
    """The share of margins above 0, ties counted as half, and the number of ties.

    The interval is that of `paired_share`, halved: exact where there are no ties, and one half is left out just where
    the sign test leaves it out. Where all are ties it says how much may be decided by margins that were not drawn.

    Raises:
        ValueError: no margins.
    """
    if not margins:
        raise ValueError("no margins")
    n, hits, losses = len(margins), sum(margin > 0 for margin in margins), sum(margin < 0 for margin in margins)
    low, high = _surplus(hits, losses, n)
    ties = n - hits - losses
    return Proportion((hits + ties / 2) / n, 0.5 + low / 2, 0.5 + high / 2, n, hits), ties


def paired_share(before: Sequence[bool], after: Sequence[bool]) -> Estimate:
    """How far two shares of the same cases are apart, with an interval that holds for few cases and rare properties.

    It leaves out 0 just where the sign test at 5 % does (of 5 cases never).

    Raises:
        ValueError: no cases, or not as many of one as of the other.
    """
    differences = [int(new) - int(old) for old, new in zip(before, after, strict=True)]
    n, more, fewer = len(differences), differences.count(1), differences.count(-1)
    low, high = _surplus(more, fewer, n)
    return Estimate((more - fewer) / n, low, high, n)


def _surplus(more: int, fewer: int, n: int) -> tuple[float, float]:
    """The interval of the probability of "more" minus that of "fewer", of `n` cases of which the rest is neither.

    Two exact intervals are combined: of how many cases differ, and of which way those that differ go. It is wider than
    it need be: calculated for 5 to 60 cases, it holds the true difference in at least 96 of 100 draws, where the second
    interval alone, scaled by the observed share of cases that differ, holds a rare one in as few as 1.

    Raises:
        ValueError: no cases.
    """
    differing = exact_proportion(more + fewer, n)
    if more + fewer == 0:
        return -differing.high, differing.high
    up = exact_proportion(more, more + fewer)
    least = 1.0 if more + fewer == n else differing.low  # where all differ there is nothing to scale by
    low, high = 2 * up.low - 1, 2 * up.high - 1
    return low * (differing.high if low < 0 else least), high * (differing.high if high > 0 else least)


def _binomial_at_most(hits: int, n: int, p: float) -> float:
    """The probability of at most `hits` successes in `n` trials of probability `p`."""
    logs = (math.log(p), math.log1p(-p))
    terms = (
        math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * logs[0] + (n - k) * logs[1])
        for k in range(hits + 1)
    )
    return min(1.0, math.fsum(terms))


def _solve(rising: Callable[[float], float], wanted: float = 0.025) -> float:
    """Where a rising function of a probability has the value `wanted`, by halving, to 1e-12."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < wanted else (low, middle)
    return (low + high) / 2


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


def paired(
    before: Sequence[float],
    after: Sequence[float],
    resamples: int = 2000,
    seed: int = 0,
    counts: Sequence[float] | None = None,
) -> Estimate:
    """The mean difference of pairs of measurements, with its 95 % expanded percentile bootstrap interval.

    Pairs are resampled (B. Efron, Annals of Statistics 7, 1979), so what both have in common does not widen it.
    For few pairs the percentiles are further out (T. Hesterberg, The American Statistician 69, 2015): plain ones
    give an interval that is too narrow. The same input gives the same interval.

    Args:
        counts: of how many each measurement is the sum, all above 0; then the mean is over these.

    Raises:
        ValueError: no pairs, or not as many of one as of the other.
    """
    differences = [new - old for old, new in zip(before, after, strict=True)]
    n = len(differences)
    if n == 0:
        raise ValueError("no pairs")
    draw = random.Random(seed)
    if counts is None:
        means = sorted(math.fsum(draw.choices(differences, k=n)) / n for _ in range(resamples))
        value = math.fsum(differences) / n
    else:
        pairs = list(zip(differences, counts, strict=True))
        means = sorted(_ratio(draw.choices(pairs, k=n)) for _ in range(resamples))
        value = _ratio(pairs)
    tail = _tail(n)
    low, high = (means[round(share * (resamples - 1))] for share in (tail, 1 - tail))
    return Estimate(value, low, high, n)


def _tail(n: int) -> float:
    """The share of the resampled means of `n` values below the expanded percentile interval; near 0.025 for many."""
    if n < 3:
        return 0.0
    z, free = Z95, n - 1
    # Student's t from the normal quantile (M. Abramowitz, I. Stegun 1964, 26.7.5).
    t = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return math.erfc(t * math.sqrt(n / free) / math.sqrt(2)) / 2


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return math.fsum(pair[0] for pair in pairs) / math.fsum(pair[1] for pair in pairs)
