"""The win rate that is left when both responses are equally long, as AlpacaEval 2 defines it (arXiv 2404.04475).

There the logit of "m is preferred to b on prompt x" is theta_m - theta_b + phi tanh((len_m - len_b) / std) + (psi_m -
psi_b) gamma_x. Kept: the difference of the thetas, and the length term, with lengths in characters, their standard
deviation over the pairs, and preferences between 0 and 1. Left out: the difficulty gamma_x of a prompt, which is fitted
once over all models of a leaderboard and cannot be told from noise with one pair of models; and the two versions of the
baseline that AlpacaEval adds (asked to be brief, asked to be verbose). So the estimate is that of the logistic model
with two coefficients; the L1 penalty chosen by cross-validation is a weak ridge here, that only bounds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.statistics import Estimate

_SCALE = 10.0  # of the normal prior of a coefficient, on the logit: wins of 1 in 20,000 are still within it
_STEPS = 60
_LONGEST = 2.0  # of a Newton step
_EACH_SIDE = 5  # pairs in which either model's response is the longer one: between them the length is controlled
_DECIDED = 10  # wins of the rarer side: five for each of the two coefficients (E. Vittinghoff, C. McCulloch, 2007)


@dataclass(frozen=True)
class LengthControlled:
    """What came of it.

    Attributes:
        win_rate: None where it cannot be told; `reason` then says why.
        effect: phi, in logits: how much the longer response is preferred for its length.
    """

    win_rate: Estimate | None
    effect: float | None
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        rate = self.win_rate.as_dict() if self.win_rate else None
        return {"win_rate": rate, "length_effect": self.effect, "reason": self.reason}


def length_controlled(
    preferences: Sequence[float], lengths: Sequence[tuple[int, int]], resamples: int = 1000, seed: int = 0
) -> LengthControlled:
    """The win rate at equal lengths, with its 95 % percentile bootstrap interval over pairs.

    Args:
        preferences: 1 where the model is preferred to the other one, 0 where it is not, 0.5 for a tie.
        lengths: of the model's and of the other one's response, in characters.
    """
    import numpy as np

    y = np.asarray(preferences, dtype=float)
    apart = np.asarray([model - other for model, other in lengths], dtype=float)
    if reason := _cannot(y, apart):
        return LengthControlled(None, None, reason)
    spread = float(apart.std(ddof=1))
    x = np.tanh(apart / spread) if spread > 0 else np.zeros_like(apart)
    draws = np.random.default_rng(seed).multinomial(len(y), np.full(len(y), 1 / len(y)), size=resamples)
    fitted = fit(x, y, np.vstack([np.ones((1, len(y))), draws]))
    rates = 1 / (1 + np.exp(-fitted[:, 0]))
    low, high = np.quantile(rates[1:], [0.025, 0.975])
    return LengthControlled(
        Estimate(float(rates[0]), float(min(low, rates[0])), float(max(high, rates[0])), len(y)),
        float(fitted[0, 1]),
        "",
    )


def fit(x: Any, y: Any, weights: Any) -> Any:
    """Coefficients (theta, phi) of logit = theta + phi x, for each row of weights at once: an array (rows, 2).

    Newton's method on the penalised likelihood, which has one maximum; a step is bounded, so that it is found also
    where the pairs can be separated. Arguments are numpy arrays (pairs,), (pairs,) and (rows, pairs).
    """
    import numpy as np

    found = np.zeros((len(weights), 2))
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(found[:, :1] + found[:, 1:] * x)))
        rest, curve = weights * (y - p), weights * p * (1 - p)
        slope = np.stack([rest.sum(1), (rest * x).sum(1)], axis=1) - found / _SCALE**2
        a, b, c = curve.sum(1) + _SCALE**-2, (curve * x).sum(1), (curve * x * x).sum(1) + _SCALE**-2
        step = np.stack([c * slope[:, 0] - b * slope[:, 1], a * slope[:, 1] - b * slope[:, 0]], axis=1)
        step /= (a * c - b * b)[:, None]
        step *= np.minimum(1.0, _LONGEST / np.maximum(np.linalg.norm(step, axis=1), 1e-300))[:, None]
        found += step
        if np.abs(step).max() < 1e-10:
            break
    return found


def _cannot(y: Any, apart: Any) -> str:
    """Why the two effects cannot be told apart; "" if they can."""
    won, lost = int((y > 0.5).sum()), int((y < 0.5).sum())
    if min(won, lost) < _DECIDED:
        return f"needs {_DECIDED} wins of either model, and there are {won} and {lost}"
    if not apart.any():
        return ""
    longer, shorter = int((apart >= 0).sum()), int((apart <= 0).sum())
    if min(longer, shorter) < _EACH_SIDE:
        return "one model's responses are nearly always longer, so length and quality cannot be told apart"
    return ""
