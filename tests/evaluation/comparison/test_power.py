"""What difference so many prompts can show."""

from __future__ import annotations

import math
import random
from statistics import NormalDist

import pytest

from rlguide.evaluation.comparison.power import detectable_share, detectable_win_rate
from rlguide.statistics import Z95


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
