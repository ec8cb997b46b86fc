"""Which prompts of labelled responses are held out."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.holdout import Split, _most, choose, choose_labelled

Prompts = list[tuple[int, int]]  # desirable and undesirable responses of each


def both_have_both(prompts: Prompts, chosen: set[int]) -> bool:
    sides = [[prompt for at, prompt in enumerate(prompts) if (at in chosen) is held] for held in (True, False)]
    return all(sum(kind) > 0 for side in sides for kind in zip(*side, strict=True)) and all(sides)


def held_out(prompts: Prompts, share: float | None = None) -> tuple[list[int], str, int]:
    counts = [good + bad for good, bad in prompts]
    wanted = Split(share).wanted(sum(counts))
    return *choose_labelled(counts, [good for good, _ in prompts], wanted), wanted


prompts = st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(any)


@given(st.lists(prompts, min_size=2, max_size=8), st.none() | st.floats(0.01, 0.9))
def test_both_sides_have_both_labels_wherever_that_is_possible(prompts: Prompts, share: float | None) -> None:
    chosen, why, wanted = held_out(prompts, share)
    if not all(map(sum, zip(*prompts, strict=True))):
        assert (chosen, why) == choose([sum(prompt) for prompt in prompts], wanted, sum(map(sum, prompts)))
        return
    assert bool(chosen) != bool(why)
    limit = _most(wanted, sum(map(sum, prompts)))
    if chosen:
        assert both_have_both(prompts, set(chosen))
        assert sum(sum(prompts[at]) for at in chosen) <= limit
        return
    for size in range(1, len(prompts)):
        for choice in combinations(range(len(prompts)), size):
            small = sum(sum(prompts[at]) for at in choice) <= limit
            assert not (small and both_have_both(prompts, set(choice))), choice


def test_a_choice_that_has_both_already_is_the_same_as_without_labels() -> None:
    prompts = [(1, 1)] * 100
    chosen, why, wanted = held_out(prompts)
    assert (chosen, why) == choose([2] * 100, wanted, 200)
    assert chosen == [0, 1, 2, 3, 4]


def test_rare_ones_are_shared_and_the_rest_is_by_order() -> None:
    prompts = [(1, 0)] * 998 + [(0, 1)] * 2
    chosen, _, wanted = held_out(prompts)
    assert chosen == [*range(wanted - 1), 998]


@pytest.mark.parametrize(
    ("prompts", "why"),
    [
        ([(2, 0), (0, 2), (0, 2)], "all 2 desirable responses belong to one prompt"),
        ([(3, 0)] * 50 + [(0, 1)], "the only undesirable response belongs to one prompt"),
        ([(9, 0), (9, 0), (0, 9), (0, 9)], "have 18 rows, and 2 rows are wanted (--test-size 0.5 takes them)"),
    ],
)
def test_what_is_impossible_is_said(prompts: Prompts, why: str) -> None:
    chosen, said, _ = held_out(prompts)
    assert not chosen and why in said


def test_the_advised_size_is_enough() -> None:
    prompts = [(9, 0), (9, 0), (0, 9), (0, 9)]
    chosen, why, _ = held_out(prompts, 0.5)
    assert both_have_both(prompts, set(chosen)) and not why
