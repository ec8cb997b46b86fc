from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.kto_order import BLOCK, spread

many = st.lists(st.integers(0, 40), max_size=200)
few = st.lists(st.integers(0, 3), max_size=40)


def mismatched(keys: list[int], order: list[int]) -> list[tuple[int, int]]:
    """(key of a row, key of the row whose answer it gets), as the engine mismatches them in blocks."""
    found = []
    for start in range(0, len(order), BLOCK):
        block = [keys[index] for index in order[start : start + BLOCK]]
        found += zip(block, [block[-1], *block[:-1]], strict=True)
    return found


@given(keys=many | few, seed=st.integers(0, 3))
def test_neighbours_differ_wherever_that_is_possible(keys: list[int], seed: int) -> None:
    order = list(spread(keys, seed))
    assert sorted(order) == list(range(len(keys)))
    assert order == list(spread(keys, seed))
    most = max(Counter(keys).values(), default=0)
    equal = [a for a, b in pairwise(order) if keys[a] == keys[b]]
    if most <= (len(keys) + 1) // 2:
        assert not equal
    if most <= len(keys) // 2:
        assert all(own != other for own, other in mismatched(keys, order))


@pytest.mark.parametrize("count", [999, 1000, 1001, 2000, 25_001])
def test_no_prompt_gets_an_answer_of_its_own_over_many_blocks(count: int) -> None:
    keys = [number // 2 for number in range(count)]  # a pair's two rows, as a view has them
    order = list(spread(keys, 42))
    pairs = mismatched(keys, order)
    if count % BLOCK == 1:  # the last row is a block of its own and has no other answer to take
        assert pairs.pop()[0] == keys[order[-1]]
    assert all(own != other for own, other in pairs)


def test_the_order_is_shuffled_and_the_labels_with_it() -> None:
    order = list(spread([number // 2 for number in range(4000)], 42))
    first_half = Counter(index % 2 for index in order[:2000])
    assert 850 < first_half[0] < 1150  # 1,000 with a standard deviation of 16; not one label after the other
    assert abs(sum(order[:2000]) / 2000 - 2000) < 200
    assert order != list(spread([number // 2 for number in range(4000)], 43))


def test_prompts_that_make_up_half_of_the_rows() -> None:
    keys = [0] * 1500 + list(range(1, 1501))
    random.Random(1).shuffle(keys)
    order = list(spread(keys, 0))
    assert all(keys[a] != keys[b] for a, b in pairwise(order))
