"""Intervals."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.statistics import (
    Z95,
    exact_proportion,
    mean,
    paired,
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


@pytest.mark.parametrize(("n", "least"), [(10, 0.93), (20, 0.925)])
def test_the_interval_of_few_paired_means_holds_the_truth(n: int, least: float) -> None:
    """Plain percentiles hold it in 90 of 100 draws of 10 pairs, and in 92 of 20."""
    draw, held = random.Random(11), 0
    for _ in range(600):
        after = [draw.gauss(0.2, 1) for _ in range(n)]
        found = paired([0.0] * n, after, resamples=400)
        held += found.low <= 0.2 <= found.high
    assert held / 600 >= least


def test_percentiles_of_many_pairs_are_plain() -> None:
    values = [float(value) for value in range(400)]
    found = paired([0.0] * 400, values)
    half = Z95 * math.sqrt((400**2 - 1) / 12 / 400)
    assert (found.low, found.high) == (pytest.approx(199.5 - half, rel=0.01), pytest.approx(199.5 + half, rel=0.01))
