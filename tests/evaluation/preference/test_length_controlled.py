"""Identities of the length-controlled win rate, and parameters that are recovered from pairs drawn from the model."""

from __future__ import annotations

import numpy as np
import pytest

from rlguide.evaluation.preference.length_controlled import fit, length_controlled


def drawn(theta: float, phi: float, n: int, seed: int, mean: float = 0.0) -> tuple[list[float], list[tuple[int, int]]]:
    """Pairs from the model itself; `mean`: how much longer the responses are, in standard deviations."""
    draw = np.random.default_rng(seed)
    apart = np.round(draw.normal(300 * mean, 300, n)).astype(int)
    logit = theta + phi * np.tanh(apart / apart.std(ddof=1))
    y = (draw.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    return y.tolist(), [(int(2000 + value), 2000) for value in apart]


def test_without_any_difference_of_length_it_is_the_win_rate() -> None:
    y = [1.0] * 70 + [0.0] * 20 + [0.5] * 10
    found = length_controlled(y, [(50, 50)] * 100)
    assert found.win_rate is not None and found.win_rate.value == pytest.approx(0.75, abs=1e-3)
    assert found.effect == pytest.approx(0, abs=1e-9)


def test_without_an_effect_of_length_it_is_near_the_win_rate() -> None:
    y, lengths = drawn(0.8, 0.0, 4000, 1, mean=0.5)
    found = length_controlled(y, lengths, 50)
    assert found.win_rate is not None and found.win_rate.value == pytest.approx(np.mean(y), abs=0.02)


@pytest.mark.parametrize(("theta", "phi", "mean"), [(0.6, 1.5, 0.7), (-0.4, 2.5, 1.0), (0.0, -1.0, -0.5)])
def test_the_parameters_are_recovered(theta: float, phi: float, mean: float) -> None:
    found = length_controlled(*drawn(theta, phi, 20_000, 2, mean), resamples=50)
    assert found.win_rate is not None and found.effect == pytest.approx(phi, abs=0.15)
    assert found.win_rate.value == pytest.approx(1 / (1 + np.exp(-theta)), abs=0.02)


def test_a_model_that_only_writes_longer_wins_nothing() -> None:
    y, lengths = drawn(0.0, 3.0, 600, 3, mean=0.8)
    found = length_controlled(y, lengths, 300)
    assert np.mean(y) > 0.7 and found.win_rate is not None
    assert found.win_rate.low < 0.5 < found.win_rate.high and abs(found.win_rate.value - 0.5) < 0.1


def test_a_judge_that_sees_nothing_but_length_is_fitted_too() -> None:
    _, lengths = drawn(0.0, 0.0, 400, 4, mean=0.5)
    y = [1.0 if model > other else 0.0 for model, other in lengths]
    found = length_controlled(y, lengths, 100)
    assert np.mean(y) > 0.6 and found.win_rate is not None
    assert found.win_rate.low <= 0.5 <= found.win_rate.high


def test_the_other_way_round_it_is_the_rest_of_one() -> None:
    y, lengths = drawn(0.5, 1.0, 300, 5, mean=0.3)
    there = length_controlled(y, lengths, 400)
    back = length_controlled([1 - value for value in y], [(b, a) for a, b in lengths], 400)
    assert there.win_rate is not None and back.win_rate is not None
    assert there.win_rate.value + back.win_rate.value == pytest.approx(1, abs=1e-9)
    assert there.win_rate.low + back.win_rate.high == pytest.approx(1, abs=1e-9)
    assert there.effect == pytest.approx(back.effect, abs=1e-7)


def test_weights_are_copies() -> None:
    x, y = np.array([-0.5, 0.1, 0.9, 0.2]), np.array([0.0, 1.0, 1.0, 0.0])
    weighted = fit(x, y, np.array([[2.0, 1.0, 3.0, 1.0]]))
    copied = fit(np.repeat(x, [2, 1, 3, 1]), np.repeat(y, [2, 1, 3, 1]), np.ones((1, 7)))
    assert weighted == pytest.approx(copied, abs=1e-9)


def test_the_interval_covers() -> None:
    truth = 1 / (1 + np.exp(-0.4))
    found = [length_controlled(*drawn(0.4, 1.2, 150, seed, 0.5), resamples=200).win_rate for seed in range(200)]
    covered = sum(item is not None and item.low <= truth <= item.high for item in found)
    assert 178 <= covered <= 199  # 95 % of 200, give or take


@pytest.mark.parametrize(
    ("y", "lengths", "words"),
    [
        ([1.0] * 95 + [0.0] * 5, [(1, 2), (2, 1)] * 50, "10 wins"),
        ([1.0] * 50 + [0.0] * 50, [(9 + at, 1) for at in range(100)], "nearly always longer"),
        ([0.5] * 100, [(1, 2), (2, 1)] * 50, "10 wins"),
    ],
)
def test_what_cannot_be_told_is_not_told(y: list[float], lengths: list[tuple[int, int]], words: str) -> None:
    found = length_controlled(y, lengths)
    assert found.win_rate is None and words in found.reason
