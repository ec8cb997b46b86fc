"""Two answers and a winner: which is the better one is read, never guessed."""

from __future__ import annotations

from typing import Any

import pytest

from rlguide.data.cells.table import Table
from rlguide.data.curate.filters import Filters
from rlguide.data.example import BadRow
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.comparisons import two_responses
from rlguide.data.formats.reading import Reading, choose_reading
from rlguide.data.ingest.pipeline import import_rows
from rlguide.data.readers.source import Row
from rlguide.data.store.row_counts import RowCounts
from rlguide.errors import DataError


def read(row: dict[str, Any]) -> Reading:
    return choose_reading([row], "file")


NUMBERS = {"prompt": "q", "response_0": "zero", "response_1": "one"}
LETTERS = {"prompt": "q", "response_a": "a!", "response_b": "b!"}
GRADED = {"prompt": "q", "response_1": "one", "response_2": "two"}
THREAD = {"history": "q", "human_ref_A": "a!", "human_ref_B": "b!"}


@pytest.mark.parametrize(
    ("row", "winner", "chosen"),
    [
        (NUMBERS, {"better_response_id": 0}, "zero"),
        (NUMBERS, {"better_response_id": 1}, "one"),
        (NUMBERS, {"better_response_id": "1.0"}, "one"),
        (NUMBERS, {"preference": "response_0"}, "zero"),
        (LETTERS, {"winner": "a"}, "a!"),
        (LETTERS, {"winner": "B"}, "b!"),
        (LETTERS, {"winner": "model_b"}, "b!"),
        (LETTERS, {"preference": "Response A"}, "a!"),
        (GRADED, {"preference": 2.0}, "two"),
        (LETTERS, {"winner": "2"}, "b!"),
        (LETTERS, {"preference": "A>B"}, "a!"),
        (LETTERS, {"preference": "[[B]]"}, "b!"),
        (LETTERS, {"verdict": "B is much better"}, "b!"),
        (LETTERS, {"comparison": "left"}, "a!"),
        (LETTERS, {"choice": "response_b"}, "b!"),
        (LETTERS, {"better": "b!"}, "b!"),
        (LETTERS, {"votes": ["A", "B", "B"]}, "b!"),
        (LETTERS, {"winner_model_a": 0, "winner_model_b": 1, "winner_tie": 0}, "b!"),
        (LETTERS, {"is_response_a_better": True, "is_response_b_better": False}, "a!"),
        (
            LETTERS,
            {"preference": [{"value": [{"value": "response_a", "rank": 2}, {"value": "response_b", "rank": 1}]}]},
            "b!",
        ),
        ({"问题": "q", "回答1": "one", "回答2": "two"}, {"更好的回答": "回答2"}, "two"),
        (GRADED, {"preference_strength": -3}, "one"),
        (GRADED, {"preference_strength": 1}, "two"),
        (GRADED, {"overall_preference": "-1"}, "one"),
        (THREAD, {"labels": 1}, "a!"),
        (THREAD, {"labels": 0}, "b!"),
    ],
)
def test_the_winner_is_chosen(row: dict[str, Any], winner: dict[str, Any], chosen: str) -> None:
    reading = read(row | winner)
    assert reading.name == "comparison"
    (pair,) = reading.to_examples(row | winner)
    assert (pair.messages[0].value, pair.chosen) == ("q", chosen)
    assert {pair.chosen, pair.rejected} == {row[name] for name in row if name not in ("prompt", "history", "问题")}


@pytest.mark.parametrize(
    "winner",
    [
        {"votes": ["A", "B"]},
        {"winner_model_a": 0, "winner_model_b": 0},
        {"winner": "tie"},
        {"winner": "Tie (bothbad)"},
        {"winner": "both_bad"},
        {"preference_strength": 0},
    ],
)
def test_a_tie_makes_no_pair(winner: dict[str, Any]) -> None:
    counts = RowCounts()
    counts.open("a.jsonl", "line")
    assert not list(import_rows([Row(1, LETTERS | winner)], read(LETTERS | winner), counts, Filters()))
    assert (counts.invalid.total(), counts.filtered.total()) == (0, 1)


@pytest.mark.parametrize(
    ("row", "winner"),
    [
        (LETTERS, {"winner": "c"}),
        (LETTERS, {"winner": True}),
        (LETTERS, {"winner": 0.7}),
        (LETTERS, {"labels": 1}),
        (NUMBERS, {"preference": 1}),  # the second answer, or the first with certainty?
        (GRADED, {"preference": 0}),
        (GRADED, {"preference_strength": "much"}),
        (THREAD, {"labels": 2}),
        (LETTERS, {}),
    ],
)
def test_a_winner_that_is_not_understood_is_refused_and_never_guessed(
    row: dict[str, Any], winner: dict[str, Any]
) -> None:
    with pytest.raises(DataError) as stopped:
        read(row | winner)
    assert "look like two responses" in stopped.value.what
    assert "chosen" not in stopped.value.fix, "which answer is better differs by row"


def test_rows_without_two_responses_or_a_prompt_are_refused() -> None:
    reading = read(NUMBERS | {"better_response_id": 0})
    with pytest.raises(BadRow, match="no two responses"):
        reading.to_examples({"prompt": "q", "response_0": "zero", "better_response_id": 0})
    with pytest.raises(BadRow, match="prompt is missing"):
        reading.to_examples({"response_0": "zero", "response_1": "one", "better_response_id": 0})
    with pytest.raises(BadRow, match="does not say which response is better"):
        reading.to_examples(NUMBERS | {"better_response_id": None})


NAMED = {"prompt": "q", "gpt4": "g!", "llama": "l!", "mistral": "m!"}


def test_a_winner_may_name_the_column_of_its_response() -> None:
    rows = [NAMED | {"winner": "GPT-4"}, NAMED | {"winner": "llama"}, NAMED | {"winner": "tie"}]
    found = [[(pair.chosen, pair.rejected) for pair in choose_reading(rows, "f").to_examples(row)] for row in rows]
    assert found == [[("g!", "l!")], [("l!", "g!")], []], "mistral never wins, so it may be anything"
    rows.append(NAMED | {"winner": "mistral"})
    reading = choose_reading(rows, "f", Wanted(pairing="all"))
    assert {(pair.chosen, pair.rejected) for pair in reading.to_examples(rows[-1])} == {("m!", "g!"), ("m!", "l!")}
    assert [pair.responses for pair in reading.to_examples(rows[-1] | {"llama": None})] == [("m!", "g!")]
    with pytest.raises(BadRow, match="winner does not say"):
        reading.to_examples(NAMED | {"winner": "claude"})
    with pytest.raises(DataError):  # one name alone: what it was compared with is not known
        choose_reading(rows[:1], "f")


def test_whole_conversations_that_part_early_are_refused() -> None:
    def talk(first: str, last: str) -> list[dict[str, str]]:
        texts = ("q", first, "more?", last)
        return [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, texts, strict=True)]

    row = {"conversation_a": talk("x", "a"), "conversation_b": talk("y", "b"), "winner": "model_b"}
    with pytest.raises(BadRow, match="differ before their last message"):
        read(row).to_examples(row)
    (pair,) = read(row).to_examples(row | {"conversation_b": talk("x", "b")})
    assert (pair.chosen, pair.rejected, len(pair.messages)) == ("b", "a", 3)


def test_two_responses_are_seen_in_unknown_columns() -> None:
    row = {"id_a": "1", "id_b": "2", "reply_a": "A long reply.", "reply_b": "Another one.", "better": "left"}
    found = two_responses(Table([row]))
    assert found is not None
    assert {end: column.name for end, column in found.items()} == {"a": "reply_a", "b": "reply_b"}
    assert two_responses(Table([{"prompt": "q", "response": "a", "score_a": 1, "score_b": 2}])) is None


def test_a_winner_goes_before_an_order() -> None:
    row = {"instruction": "q", "output": ["a", "b"], "output_1": "a", "output_2": "b", "preference": 2}
    assert read(row).to_examples(row)[0].chosen == "b"
