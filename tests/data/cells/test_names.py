"""What a column may be by its name, in English and Chinese."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.columns import vocabulary
from rlguide.data.cells.names import meanings


def likeliest(name: str) -> tuple[str, str]:
    found = sorted(meanings(name), key=lambda meaning: meaning.order)
    return (found[0].role, found[0].key) if found else ("", "")


@pytest.mark.parametrize(
    ("name", "role", "key"),
    [
        ("prompt", "prompt", ""),
        ("User_Input", "prompt", ""),
        ("问题", "prompt", ""),
        ("System Prompt", "system", ""),
        ("chosen", "response", "chosen"),
        ("chosen_response", "response", "chosen"),
        ("response-rejected", "response", "rejected"),
        ("preferredOutput", "response", "chosen"),
        ("non_preferred_output", "response", "rejected"),
        ("not_chosen", "response", "rejected"),
        ("y_w", "response", "chosen"),
        ("pos_text", "response", "chosen"),
        ("better_answer", "response", "chosen"),
        ("好的回答", "response", "chosen"),
        ("较差回答", "response", "rejected"),
        ("response_a", "response", "a"),
        ("answer1", "response", "1"),
        ("modelA", "response", "a"),
        ("human_ref_B", "response", "b"),
        ("回答2", "response", "2"),
        ("model_a_response", "response", "a"),
        ("score_chosen", "score", "chosen"),
        ("rejected_avg_rating", "score", "rejected"),
        ("score_b", "score", "b"),
        ("rank_1", "rank", "1"),
        ("winner_model_a", "flag", "a"),
        ("is_response_b_better", "flag", "b"),
        ("better_response_id", "best", ""),
        ("chosen_idx", "best", ""),
        ("kto_tag", "label", ""),
        ("image_path", "media", ""),
        ("评分", "score", ""),
        ("context", "context", ""),
        ("上下文", "context", ""),
    ],
)
def test_names_say_what_they_mean(name: str, role: str, key: str) -> None:
    assert likeliest(name) == (role, key)


@pytest.mark.parametrize(
    "name", ["id", "source", "chosen_model", "chosen_id_hash", "rejected_policy", "chosen_rejected_margin", "lang", ""]
)
def test_names_that_say_nothing_mean_nothing(name: str) -> None:
    assert not [meaning for meaning in meanings(name) if meaning.role == "response"]


def test_a_word_has_one_meaning_among_those_of_a_side() -> None:
    parts = vocabulary().parts
    assert not parts["chosen"] & parts["rejected"]
    assert not parts["chosen"] & parts["score"]
    assert not {word for row in vocabulary().numbering for word in row} & (parts["chosen"] | parts["rejected"])


@given(st.text())
def test_any_name_is_taken(name: str) -> None:
    assert isinstance(meanings(name), tuple)
