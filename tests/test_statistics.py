"""Intervals."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.statistics import (
    Z95,
    detectable_share,
    detectable_win_rate,
    exact_proportion,
    mean,
    paired_share,
    proportion,
    wins,
)


def test_wilson_against_published_values() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 81/263 and 15/148 and 0/20."""
    for hits, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        found = proportion(hits, count)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_value_and_mirrors(case: tuple[int, int]) -> None:
    hits, count = case
    found, mirrored = proportion(hits, count), proportion(count - hits, count)
    assert (found.hits, found.n, found.value) == (hits, count, hits / count)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high)


def test_mean() -> None:
    found = mean([1.0, 2.0, 3.0, 4.0])
    assert found.value == 2.5
    assert found.high - 2.5 == pytest.approx(1.959964 * math.sqrt(5 / 3 / 4))
    assert mean([1.0]).high == math.inf
    with pytest.raises(ValueError, match="nothing"):
        mean([])
    with pytest.raises(ValueError, match="not a proportion"):
        proportion(3, 2)


def test_the_exact_interval_against_published_values() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 5: 81/263, 15/148, 0/20."""
    for hits, count, low, high in ((81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0, 0.1684)):
        found = exact_proportion(hits, count)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_exact_interval_holds_its_value_mirrors_and_is_wider_than_chance(case: tuple[int, int]) -> None:
    hits, count = case
    found, mirrored = exact_proportion(hits, count), exact_proportion(count - hits, count)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-9)


def test_an_interval_excludes_chance_only_where_the_sign_test_does() -> None:
    """All of n: two-sided probability 2 / 2^n, below 5 % from n = 6 on."""
    assert [n for n in range(1, 9) if exact_proportion(n, n).low > 0.5] == [6, 7, 8]


def test_ties_are_half() -> None:
    even, ties = wins([0.0] * 8)
    assert (even.value, ties) == (0.5, 8)
    assert even.high - 0.5 == 0.5 - even.low == pytest.approx((1 - 0.025 ** (1 / 8)) / 2)
    mixed, ties = wins([0.0, 0.0, 1.0, -1.0])
    assert (mixed.value, ties) == (0.5, 2)
    clear, ties = wins([0.3] * 10 + [0.0] * 10)
    assert (clear.value, ties) == (0.75, 10)
    assert 0.5 < clear.low < clear.value < clear.high < 1  # a win rate of 0.8, with fewer ties, is not excluded
    assert wins([1.0, -1.0, 1.0])[0].value == pytest.approx(2 / 3)


@given(st.lists(st.sampled_from([-1.0, 1.0]), min_size=1, max_size=40))
def test_without_ties_the_win_rate_is_a_plain_proportion(margins: list[float]) -> None:
    found, plain = wins(margins)[0], exact_proportion(margins.count(1.0), len(margins))
    assert (found.value, found.low, found.high) == pytest.approx((plain.value, plain.low, plain.high))


@pytest.mark.parametrize(("won", "lost"), [(0.01, 0.0), (0.05, 0.01), (0.5, 0.48), (0.3, 0.3)])
def test_the_interval_of_a_win_rate_holds_the_truth_whatever_the_ties(won: float, lost: float) -> None:
    """Over all outcomes of 12 pairs; an interval scaled by the ties that are seen holds the first in 11 of 100."""
    n, held = 12, 0.0
    for hits in range(n + 1):
        for misses in range(n - hits + 1):
            ties = n - hits - misses
            found = wins([1.0] * hits + [-1.0] * misses + [0.0] * ties)[0]
            if found.low <= 0.5 + (won - lost) / 2 <= found.high:
                orders = math.comb(n, hits) * math.comb(n - hits, misses)
                held += orders * won**hits * lost**misses * (1 - won - lost) ** ties
    assert 0.95 <= held <= 1 + 1e-9


@pytest.mark.parametrize("n", [20, 100, 805])
@pytest.mark.parametrize("ties", [0.0, 0.4])
def test_a_detectable_win_rate_is_detected_in_eight_of_ten(n: int, ties: float) -> None:
    far = detectable_win_rate(n, ties)
    assert far is not None
    without, with_it = math.sqrt((1 - ties) / 4), math.sqrt((1 - ties) / 4 - far**2)
    assert NormalDist().cdf((far * math.sqrt(n) - Z95 * without) / with_it) == pytest.approx(0.8, abs=1e-9)


def test_a_detectable_share_is_detected_in_eight_of_ten_by_drawing() -> None:
    n, differing = 400, 0.2
    apart = detectable_share(n, differing)
    assert apart is not None
    draw, found = random.Random(3), 0
    for _ in range(1000):
        moves = draw.choices((1, -1, 0), ((differing + apart) / 2, (differing - apart) / 2, 1 - differing), k=n)
        found += abs(sum(moves)) > Z95 * math.sqrt(sum(map(abs, moves)))  # McNemar's test
    assert 0.76 < found / 1000 < 0.84


def test_nothing_is_resolved_by_a_handful_of_prompts() -> None:
    assert [detectable_win_rate(n) for n in (0, 1, 3)] == [None] * 3
    assert detectable_share(10) is None and detectable_share(100, 0.0) is None
    assert all(detectable_win_rate(4 * n) < detectable_win_rate(n) for n in range(10, 100))  # type: ignore[operator]


@pytest.mark.parametrize(("n", "more", "fewer"), [(12, 0.02, 0.0), (30, 0.1, 0.02), (100, 0.2, 0.0), (100, 0.4, 0.1)])
def test_the_interval_of_paired_shares_holds_the_truth(n: int, more: float, fewer: float) -> None:
    draw, held = random.Random(7), 0
    for _ in range(300):
        moves = draw.choices((1, -1, 0), (more, fewer, 1 - more - fewer), k=n)
        found = paired_share([move < 0 for move in moves], [move > 0 for move in moves])
        assert found.low <= found.value <= found.high and found.low >= -1 and found.high <= 1
        held += found.low <= more - fewer <= found.high
    assert held >= 285


@pytest.mark.parametrize("n", range(1, 12))
def test_paired_shares_are_told_apart_where_the_sign_test_does(n: int) -> None:
    is_told = 2 * 0.5**n <= 0.05
    assert (paired_share([False] * n, [True] * n).low > 0) == is_told
    assert (paired_share([True] * n, [False] * n).high < 0) == is_told
    same = paired_share([True] * n, [True] * n)
    assert same.value == 0 and same.high == -same.low == pytest.approx(1 - 0.025 ** (1 / n))
