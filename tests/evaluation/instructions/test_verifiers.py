"""The verifiers: hand-written responses, and what holds for any text."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.yaml_file import read_yaml
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.kinds import kinds, wrong_arguments
from rlguide.evaluation.instructions.prompts import Instruction, InstructionPrompt
from rlguide.evaluation.instructions.verifiers import COUNTED, JUDGED, follows

CASES: dict[str, list[dict[str, Any]]] = read_yaml(Path(__file__).with_name("cases.yaml"))
EACH = [
    (kind, group["arguments"], text, expected == "follows")
    for kind, groups in CASES.items()
    for group in groups
    for expected in ("follows", "misses")
    for text in group[expected]
]
# Texts of the marks that the verifiers look for are likelier to upset them than any text.
MARKS = st.text(st.sampled_from("ab A1.,!?\n\t *#-|[]<>{}\"'“”。！？，、：一二三第个部分语語…\u2028\x00"), max_size=80)
TEXTS = st.one_of(st.text(max_size=60), MARKS)
ONE_OF_EACH = InstructionPrompt(
    "all", "en", "", tuple(Instruction(kind, groups[0]["arguments"]) for kind, groups in CASES.items())
)


@pytest.mark.parametrize(("kind", "arguments", "text", "expected"), EACH)
def test_by_hand(kind: str, arguments: dict[str, Any], text: str, expected: bool) -> None:
    assert wrong_arguments(kind, arguments) == ""
    assert follows(kind, arguments, text) is expected


def test_every_kind_has_a_verifier_and_ten_cases_half_of_them_near_misses() -> None:
    assert [*kinds()] == [*CASES] and COUNTED.keys() | JUDGED.keys() == kinds().keys() and len(kinds()) >= 25
    assert not COUNTED.keys() & JUDGED.keys()
    for language in ("en", "zh"):
        assert sum(language in kind.languages for kind in kinds().values()) >= 25
    followed = Counter((kind, expected) for kind, _, _, expected in EACH)
    assert min(followed[kind, expected] for kind in CASES for expected in (True, False)) >= 5


@given(TEXTS)
def test_never_raises_and_strict_implies_loose(text: str) -> None:
    result = check(ONE_OF_EACH, text)
    assert len(result.strict) == len(result.loose) == len(CASES)
    assert all(loose for strict, loose in zip(result.strict, result.loose, strict=True) if strict)


@given(st.text(st.sampled_from(" \n\t\r\u3000\u00a0\u2028"), max_size=10))
def test_a_blank_response_follows_nothing(text: str) -> None:
    result = check(ONE_OF_EACH, text)
    assert not any(result.strict) and not any(result.loose)


@given(TEXTS, st.integers(0, 5), st.integers(0, 5))
def test_limits_are_those_of_a_number(text: str, least: int, most: int) -> None:
    """At least a and at most b is the one and the other; at least n + 1 is the opposite of at most n."""
    for kind in COUNTED:
        given_by = {name: value for name, value in CASES[kind][0]["arguments"].items() if not name.startswith("at_")}
        above = follows(kind, {**given_by, "at_least": least}, text)
        below = follows(kind, {**given_by, "at_most": most}, text)
        assert follows(kind, {**given_by, "at_least": least, "at_most": most}, text) is (above and below)
        if text.strip():
            assert follows(kind, {**given_by, "at_least": most + 1}, text) is not below


@pytest.mark.parametrize(
    "piece", ["*", "[", "<<", "|-", ".", "。", '."', "\n", " \n", "{", "[1,", "******", "***\n", "第", "一", "P."]
)
def test_no_text_takes_long(piece: str) -> None:
    """Nothing is quadratic: 40,000 characters of what the patterns look for take less than 2 s in all 8 variants."""
    text = f"a{piece * (40_000 // len(piece))}b"
    start = time.process_time()
    check(ONE_OF_EACH, text)
    assert time.process_time() - start < 2
