"""What difference so many prompts can show, before anything is asked."""

from __future__ import annotations

import math

from rlguide.statistics import Z95

# Quantile of the normal distribution for a power of 80 %.
Z80 = 0.8416212335729143
# The share of prompts on which two models are taken to differ in a property before anything is known.
DIFFERING = 0.2


def detectable_win_rate(n: int, ties: float = 0.0) -> float | None:
    """How far from one half a win rate over `n` prompts must be to be told from it.

    With a power of 80 % in a two-sided test at 5 %, by the normal approximation (J. M. Lachin, Controlled Clinical
    Trials 2, 1981, equation 1). A tie counts as half a win.

    Args:
        ties: the share of prompts without a winner.

    Returns:
        The distance from 0.5, or None where even a model that wins every time is not told from its equal.
    """
    return _detectable(n, (1 - ties) / 4, (1 - ties) / 2)


def detectable_share(n: int, differing: float = DIFFERING) -> float | None:
    """How far apart two models' shares of `n` prompts must be to be told apart, both having responded to each of them.

    As `detectable_win_rate`, in McNemar's test (R. J. Connor, Biometrics 43, 1987).

    Args:
        differing: the share of prompts on which one model has the property and the other has not.

    Returns:
        The difference of the shares, or None where none is large enough.
    """
    return _detectable(n, differing, differing)


def _detectable(n: int, variance: float, largest: float) -> float | None:
    """The difference d with d sqrt(n) = Z95 s + Z80 sqrt(s^2 - d^2), where s^2 is the variance without a difference."""
    inner = n + Z80**2 - Z95**2
    if inner < 0 or variance <= 0:
        return None
    found = math.sqrt(variance) * (Z95 * math.sqrt(n) + Z80 * math.sqrt(inner)) / (n + Z80**2)
    return found if found <= largest else None
