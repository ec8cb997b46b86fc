from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import Split
from rlguide.data.example import Example, Turn, prompt_key
from rlguide.data.store.row_counts import RowCounts
from rlguide.data.store.staging import Staging
from tests.data.store.test_staging import read


def turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn("gpt" if index % 2 else "human", text) for index, text in enumerate(texts))


SAME = [
    "What is 2 + 2? Say A or B.",
    " what is 2 + 2?  say a or b.\n",
    "What is 2 + 2?\nSay A or B.",
    "What is\u00a02 + 2?\tSay A\u3000or B.",  # no-break and ideographic blanks
    "Ｗhat is 2 + 2？ Say Ａ or B.",  # full-width signs
]


@pytest.mark.parametrize("other", SAME[1:])
def test_case_blanks_and_width_do_not_make_another_question(other: str) -> None:
    assert prompt_key(turns(other)) == prompt_key(turns(SAME[0]))
    assert prompt_key(turns("好", "嗯", other)) == prompt_key(turns("好", "嗯", SAME[0]))


def test_words_order_and_what_was_said_before_do() -> None:
    different = [("2 + 2?",), ("2 + 3?",), ("2 - 2?",), ("a", "b", "2 + 2?"), ("a\nb\n2 + 2?",), ("2 + 2？！",)]
    assert len({prompt_key(turns(*texts)) for texts in different}) == len(different)


@given(st.text(min_size=1), st.sampled_from([" ", "\n", "\t", "\u00a0", "\u3000", "\r\n"]))
def test_it_is_the_text_without_blanks_case_and_width(text: str, blank: str) -> None:
    plain = re.sub(r"[ \t\n\v\f\r]", "", unicodedata.normalize("NFKC", text).lower())
    assert prompt_key(turns(text)) == plain.encode("utf-8", "surrogatepass")
    assert prompt_key(turns(blank + text + blank)) == prompt_key(turns(text))


def test_no_way_of_writing_a_held_out_question_is_trained_on(tmp_path: Path) -> None:
    pairs = [
        Example.pair(turns(text.replace("2 +", f"{number} +")), f"good {number} {index}", "bad")
        for number in range(60)
        for index, text in enumerate(SAME)
    ]
    with Staging(tmp_path / "x", Filters(), Split(0.2, len(pairs))) as staging:
        for pair in pairs:
            staging.add(pair)
        train, heldout = (read(file.path) for file in staging.finish(RowCounts()))
    number = re.compile(r"\d+")
    sides = [{number.findall(one.chosen)[0] for one in side} for side in (train, heldout)]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == 12 and len(heldout) == 60
