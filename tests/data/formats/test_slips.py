"""What people do to good rows on their way into a file: read as meant, or refused; never with another text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from rlguide.data.example import BadRow, Example
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.reading import choose_reading
from rlguide.errors import DataError, UsageError

PROMPT, GOOD, BAD = "Name a tree that grows here.", "An oak, by the gate.", "I'd rather not say."
PAIR = {"prompt": PROMPT, "chosen": GOOD, "rejected": BAD}


def read(*rows: dict[str, Any], columns: tuple[tuple[str, str], ...] = (), **wanted: Any) -> list[Example]:
    reading = choose_reading(list(rows), "file", Wanted(columns=columns, **wanted))
    return [example for row in rows for example in reading.to_examples(row)]


def stored(example: Example) -> tuple[str, ...]:
    return (example.system, *(turn.value for turn in example.messages), example.chosen, example.rejected)


def test_numpy_in_cells_is_read() -> None:
    row = {"prompt": PROMPT, "responses": str(np.array([BAD, GOOD])), "scores": str(np.array([0.25, 0.75]))}
    assert stored(read(row)[0]) == ("", PROMPT, GOOD, BAD)
    talks = {
        side: [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": PAIR[side]}]
        for side in ("chosen", "rejected")
    }
    row = {side: repr(np.array(talk, dtype=object)) for side, talk in talks.items()}
    assert stored(read(row)[0]) == ("", PROMPT, GOOD, BAD)


@pytest.mark.parametrize("nothing", ["None", "nan", "NULL", "<NA>", " none "])
@pytest.mark.parametrize("column", ["system", "input"])
def test_words_for_nothing_beside_a_prompt_are_no_text(column: str, nothing: str) -> None:
    assert stored(read({**PAIR, column: nothing})[0]) == ("", PROMPT, GOOD, BAD)


def test_a_response_of_such_a_word_is_a_text() -> None:
    assert stored(read({**PAIR, "chosen": "None"})[0])[2] == "None"


def test_scores_under_names_belong_to_the_responses_of_these_names() -> None:
    row = {"prompt": PROMPT, "responses": {"m1": GOOD, "m2": BAD}, "scores": {"m2": 1, "m1": 5}}
    assert stored(read(row)[0]) == ("", PROMPT, GOOD, BAD)
    with pytest.raises(BadRow, match="same names"):
        read({**row, "scores": {"m1": 5, "m3": 1}})


def test_a_winner_may_be_the_name_of_a_model() -> None:
    rows = [
        {"prompt": f"{PROMPT} {n}", "response_a": one, "response_b": other, "winner": winner} | models
        for n, (one, other, winner, models) in enumerate(
            [
                (GOOD, BAD, "gpt", {"model_a": "gpt", "model_b": "claude"}),
                (BAD, GOOD, "gpt", {"model_a": "llama", "model_b": "gpt"}),
                (BAD, GOOD, "claude", {"model_a": "gpt", "model_b": "claude"}),
            ]
        )
    ]
    assert [stored(example)[2:] for example in read(*rows)] == [(GOOD, BAD)] * 3
    with pytest.raises(BadRow, match="does not say which"):  # both are called so
        read(*rows, {**rows[0], "model_b": "gpt"})


def test_lists_of_texts_as_json_in_prompt_and_responses_are_read() -> None:
    row = {"prompt": json.dumps([PROMPT]), "response_a": json.dumps([BAD]), "response_b": json.dumps([GOOD])}
    marks = {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}
    assert stored(read(row | marks)[0]) == ("", PROMPT, GOOD, BAD)
    two = {**row, "prompt": json.dumps([PROMPT, "And another?"]), "response_a": json.dumps([BAD, BAD])}
    with pytest.raises(BadRow):
        read(row | marks, row | marks, two | marks)
    asked_for = {"prompt": "A list of one tree as JSON.", "chosen": '["oak"]', "rejected": '["stone"]'}
    assert stored(read(asked_for)[0])[2:] == ('["oak"]', '["stone"]')


def test_votes_of_readers_are_scores() -> None:
    row = {"question": PROMPT, "answers": [{"text": BAD, "pm_score": 0}, {"text": GOOD, "pm_score": 4}]}
    assert stored(read(row)[0]) == ("", PROMPT, GOOD, BAD)


def test_media_are_left_out_if_a_person_says_so() -> None:
    with pytest.raises(BadRow, match="media"):
        read({**PAIR, "imgUrl": "a.png"})
    assert stored(read({**PAIR, "imgUrl": "a.png"}, columns=(("imgUrl", "ignored"),))[0]) == ("", PROMPT, GOOD, BAD)


ODD = {"q": PROMPT, "w": GOOD, "l": BAD}


@pytest.mark.parametrize("roles", [("Prompt", "CHOSEN", "Rejected"), ("问题", "好", "差"), ("question", "good", "bad")])
def test_roles_may_be_said_in_other_words(roles: tuple[str, ...]) -> None:
    assert stored(read(ODD, columns=tuple(zip(ODD, roles, strict=True)))[0]) == ("", PROMPT, GOOD, BAD)


def test_roles_and_columns_the_wrong_way_round_are_told() -> None:
    with pytest.raises(UsageError) as caught:
        read({"question": PROMPT, "good": GOOD, "bad": BAD}, columns=(("prompt", "question"), ("chosen", "good")))
    assert caught.value.fix == "write --columns prompt=question,chosen=good"


@pytest.mark.parametrize("begin", ["<user>{}\n<assistant>", "{{'text': '{}\n", "array(nothing, '{}\n"])
def test_a_common_beginning_of_data_or_markup_is_no_prompt(begin: str) -> None:
    rows = [{side: f"{begin.format(f'Tree {n}?')}{side}." for side in ("chosen", "rejected")} for n in range(9)]
    with pytest.raises(DataError, match="like data or markup"):
        read(*rows)


@pytest.mark.parametrize(("row", "what"), [([1, 2], ": its rows are lists"), ("text", ": its rows are texts")])
def test_rows_that_are_no_objects_are_named(row: Any, what: str) -> None:
    with pytest.raises(DataError, match=f"{what}$"):
        choose_reading([row], "file")


def test_pairs_are_still_refused_where_nothing_fits() -> None:
    with pytest.raises(DataError):
        read({"a": 1})
