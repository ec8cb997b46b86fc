"""Repeats among many rows, exact and near."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.minhash import Fingerprints, normalise

LETTERS = "abcdefghijklmnopqrstuvwxyz"


CHOOSER = random.Random(7)
VOCABULARY = ["".join(CHOOSER.choices(LETTERS, k=CHOOSER.randint(2, 9))) for _ in range(2000)]


def prose(seed: int, words: int = 120) -> list[str]:
    """Random words."""
    return random.Random(seed).choices(VOCABULARY, k=words)


def hanzi(seed: int, length: int = 200) -> str:
    """Random Chinese characters, a vocabulary of 1,500."""
    chooser = random.Random(seed)
    return "".join(chr(0x4E00 + chooser.randrange(1500)) for _ in range(length))


def repeats(rows: list[tuple[str, ...]], near: bool = True) -> list[bool]:
    prints = Fingerprints()
    for row in rows:
        prints.add(row)
    assert len(prints) == len(rows)
    return [bool(value >= 0) for value in prints.earlier(near)]


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2).map(tuple), max_size=30))
def test_exact_repeats_are_those_of_a_set_of_normalised_texts(rows: list[tuple[str, ...]]) -> None:
    seen: set[tuple[str, ...]] = set()
    expected = []
    for row in rows:
        key = tuple(map(normalise, row))
        expected.append(key in seen)
        seen.add(key)
    assert repeats(rows, near=False) == expected
    assert repeats(rows) == expected  # so short texts are compared exactly only


@pytest.mark.parametrize(
    "left, right",
    [
        ("What's new?", "what's  NEW"),
        ("ABC,123。", "abc,123"),
        ("你好,世界!", "你好,世界"),
        ("line one\nline two", "Line one. Line two."),
    ],
)
def test_case_blanks_marks_and_width_do_not_count(left: str, right: str) -> None:
    assert repeats([(left, "x"), (right, "x")], near=False) == [False, True]


@pytest.mark.parametrize(
    "left, right",
    [("What is 5 - 3?", "What is 5 + 3?"), ("3.5", "35"), ("x = y", "x < y"), ("ab", "a b"), ("a_b", "a b")],
)
def test_what_has_a_meaning_does_count(left: str, right: str) -> None:
    assert repeats([(left,), (right,)]) == [False, False]


def test_texts_of_a_row_do_not_run_together() -> None:
    assert repeats([("ab", "c"), ("a", "bc")], near=False) == [False, False]


def test_finds_texts_with_a_changed_word_and_leaves_strangers_alone() -> None:
    count = 1500
    rows = [(" ".join(prose(seed)),) for seed in range(count)]
    for seed in range(count):  # one word of 120 is another: 0.97 of the shingles are the same
        words = prose(seed)
        words[seed % len(words)] = "changed"
        rows.append((" ".join(words),))
    found = repeats(rows)
    assert not any(found[:count])
    assert sum(found[count:]) >= 0.99 * count
    assert not any(repeats(rows, near=False))


def test_finds_changed_chinese() -> None:
    rows = [(hanzi(seed),) for seed in range(300)]
    rows += [(hanzi(seed)[:90] + "天地" + hanzi(seed)[92:],) for seed in range(300)]
    found = repeats(rows)
    assert not any(found[:300])
    assert sum(found[300:]) >= 297


def test_half_equal_texts_are_not_near() -> None:
    rows = [(" ".join(prose(seed)[:60] + prose(seed + 9000 * half)[60:]),) for half in (0, 1) for seed in range(300)]
    assert sum(repeats(rows)) == 0


def test_other_numbers_make_another_row() -> None:
    template = "Mary has {} apples and gives {} of them to John. How many apples does Mary have now? Explain each step."
    rows = [(template.format(number, 3),) for number in range(50)]
    assert not any(repeats(rows))
    assert repeats([*rows, (rows[7][0].replace("Explain", "Explain me"),)])[-1]


def test_names_the_earlier_row() -> None:
    prints = Fingerprints()
    first = " ".join(prose(1))
    for text in ("unlike", first, first.upper(), first + " and more"):
        prints.add((text,))
    assert prints.earlier().tolist() == [-1, -1, 1, 1]
    assert prints.earlier(near=False).tolist() == [-1, -1, 1, -1]


def test_can_be_asked_again_after_more_rows() -> None:
    prints = Fingerprints()
    for number in range(3000):  # more than one batch
        prints.add((" ".join(prose(number % 1000, 40)),))
        if number == 999:
            assert not (prints.earlier() >= 0).any()
    assert (prints.earlier() >= 0).sum() == 2000


def test_no_rows() -> None:
    assert Fingerprints().earlier().tolist() == []


def test_half_of_a_surrogate_pair_is_only_a_character() -> None:
    assert repeats([("\ud800" * 50,), ("\ud800" * 50,)]) == [False, True]
