"""Figures of the training data in tokens."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "rlguide_worker"))

from data_figures import IGNORED, SAMPLE, distance, figures

END = 9
TOKENS = st.lists(st.integers(0, 5), max_size=12)


class Rows:
    """What of datasets.Dataset the figures need."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows, self.column_names = rows, list(rows[0]) if rows else []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return [row[index] for row in self.rows] if isinstance(index, str) else self.rows[index]

    def select(self) -> None: ...


def pair(chosen: list[int], rejected: list[int], prompt: int = 3) -> dict[str, list[int]]:
    sides = {"chosen": chosen, "rejected": rejected}
    ids = {f"{side}_input_ids": [1] * prompt + tokens for side, tokens in sides.items()}
    return {**ids, **{f"{side}_labels": [IGNORED] * prompt + tokens for side, tokens in sides.items()}}


def edits(one: list[int], other: list[int]) -> int:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for at, token in enumerate(one, start=1):
        before, row[0] = row[0], at
        for to, wanted in enumerate(other, start=1):
            before, row[to] = row[to], min(row[to] + 1, row[to - 1] + 1, before + (token != wanted))
    return row[-1]


@given(TOKENS, TOKENS)
def test_the_distance_is_at_most_the_edit_distance(one: list[int], other: list[int]) -> None:
    longest = max(len(one), len(other), 1)
    assert 0 <= distance(one, other) <= edits(one, other) / longest <= 1
    assert distance(one, one) == 0 and distance(one, other) == distance(other, one)


def test_shares_are_of_all_pairs() -> None:
    rows = [pair([2, 3, 4, END], [2, 3, 5, END]), pair([2, END], [2, 3, 4, 4, 4]), pair([2, END], [2, END])]
    found = figures(Rows(rows), {"cutoff_len": 8}, [END])
    assert (found["rows"], found["sampled"]) == (3, 3)
    assert found["cut"] == round(1 / 3, 4)  # the second's rejected response is as long as it may be, and has no end
    assert found["longer"] == round((0.5 + 0 + 0.5) / 3, 4)
    assert found["distance"] == round((1 / 4 + 4 / 5) / 3, 4)


def test_labels_are_counted_and_rows_sampled_evenly() -> None:
    rows = [{"input_ids": [1, 2, END], "labels": [IGNORED, 2, END], "kto_tags": n % 4 == 0} for n in range(4 * SAMPLE)]
    found = figures(Rows(rows), {"cutoff_len": 3}, [END])
    assert found == {"rows": 4 * SAMPLE, "sampled": SAMPLE, "cut": 0.0, "good": SAMPLE, "bad": 3 * SAMPLE}


def test_nothing_is_said_of_what_holds_several_examples() -> None:
    rows = Rows([pair([2, END], [3, END])])
    assert figures(rows, {"packing": True}, [END]) == figures(None, {}, [END]) == figures(Rows([]), {}, [END]) == {}
