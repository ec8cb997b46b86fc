"""Which rows repeat an earlier one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from rlguide.data.curate.duplicates import DuplicateFinder
from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import ALL_HELDOUT, NO_SPLIT
from rlguide.data.example import Example, Turn
from rlguide.data.store.row_counts import RowCounts
from rlguide.data.store.staging import Staging
from tests.data.curate.test_minhash import prose
from tests.data.store.test_staging import read


def changed(words: list[str], seed: int) -> str:
    """The text with another word somewhere."""
    at = random.Random(seed).randrange(len(words))
    return " ".join([*words[:at], "changed", *words[at + 1 :]])


def pair(prompt: str, chosen: str, rejected: str) -> Example:
    return Example.pair((Turn("human", prompt),), chosen, rejected)


def found(rows: list[Example]) -> list[int]:
    repeats = DuplicateFinder()
    for row in rows:
        repeats.add(row)
    return repeats.earlier().tolist()


@pytest.mark.parametrize("seed", range(20))
def test_a_row_that_is_alike_and_no_repeat_hides_none(seed: int) -> None:
    """The first row shares neither the prompt nor both answers with the others."""
    words, better, worse = prose(seed, 80), prose(seed + 1000, 80), prose(seed + 2000, 30)
    good, bad = " ".join(better), " ".join(worse)
    first = pair(changed(words, 1), changed(better, 2), bad)
    assert found([first, pair(" ".join(words), good, bad), pair(changed(words, 3), good, bad)])[1:] == [-1, 1]


def test_rows_of_a_template_hide_none() -> None:
    """A hundred rows that are alike as a whole, then each of them again with a word more in the better answer."""
    words, good = prose(1, 100), prose(2, 100)
    rows = [pair(changed(words, seed), changed(good, seed), f"bad answer {'x' * seed}") for seed in range(100)]
    distinct = len({row.messages for row in rows})
    again = [row._replace(responses=(row.chosen + " indeed", row.rejected)) for row in rows]
    earlier = found(rows + again)
    assert distinct > 60
    assert all(at >= 0 for at in earlier[100:])
    assert all(rows[at].messages == row.messages for row, at in zip(again, earlier[100:], strict=True) if at < 100)


def test_a_contradiction_is_no_repeat() -> None:
    words, answer = prose(5, 100), " ".join(prose(6, 60))
    question, other = " ".join(words), " ".join(prose(7, 60))
    assert found([pair(question, answer, other), pair(question, other, answer)]) == [-1, -1]
    prompt_key = ((Turn("human", question),), (Turn("human", changed(words, 1)),))
    assert found([Example.labelled(prompt_key[0], answer, True), Example.labelled(prompt_key[1], answer, False)]) == [
        -1,
        -1,
    ]
    assert found([Example.labelled(prompt_key[0], answer, True), Example.labelled(prompt_key[1], answer, True)]) == [
        -1,
        0,
    ]


def test_rows_that_repeat_held_out_ones_are_left_out_of_training(tmp_path: Path) -> None:
    def rows(seed: int, count: int) -> list[Example]:
        texts = [prose(1000 * seed + number, 60) for number in range(count)]
        return [pair(" ".join(text), " ".join(text[::-1]), " ".join(sorted(text))) for text in texts]

    held, own = rows(1, 30), rows(2, 50)
    leaked = [row._replace(messages=(Turn("human", changed(row.messages[0].value.split(), 1)),)) for row in held]
    filters, counts = Filters(dedupe=True), RowCounts()
    with Staging(tmp_path / "x", filters, ALL_HELDOUT) as heldout:
        for row in [*held, held[3]]:
            heldout.add(row)
        heldout.hashes()
        with Staging(tmp_path / "x", filters, NO_SPLIT, heldout=heldout) as train:
            for row in [*own, *leaked, own[7]]:
                train.add(row)
            assert read(train.finish(counts)[0].path) == own
        assert read(heldout.finish(counts)[0].path) == held
    assert counts.filtered.total() == 30 + 1 + 1
