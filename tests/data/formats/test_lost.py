"""No piece of a prompt is dropped without a word, and what is said about the columns is true."""

from __future__ import annotations

from typing import Any

import pytest

from rlguide.data.example import BadRow
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.reading import choose_reading
from rlguide.errors import DataError

PAIR = {"chosen": "Yes.", "rejected": "No."}
LABEL = {"completion": "Yes.", "label": True}
LISTED = {"responses": ["Yes.", "No."], "scores": [2, 1]}
QUESTION = {"role": "user", "content": "Is it late?"}
THIRD = {"role": "assistant", "content": "A third answer."}
WHOLE = [[QUESTION, {"role": "assistant", "content": text}] for text in ("Yes.", "No.")]


def read(row: dict[str, Any]) -> Any:
    return choose_reading([row], "data.jsonl").to_examples(row)[0]


@pytest.mark.parametrize("name", ["system", "system_prompt", "system_message"])
@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Is it late?"} | PAIR,
        {"question": "Is it late?"} | PAIR,
        {"instruction": "Is it late?"} | PAIR,
        {"prompt": "Is it late?"} | LABEL,
        {"messages": WHOLE[0], "label": True},
        {"prompt": "Is it late?"} | LISTED,
        {"chosen": WHOLE[0], "rejected": WHOLE[1]},
        {"conversations": [QUESTION]} | PAIR,
        {"messages": [QUESTION]} | PAIR,
        {"chosen": "Human: Is it late?\n\nAssistant: Yes.", "rejected": "Human: Is it late?\n\nAssistant: No."},
    ],
)
def test_the_system_prompt_is_read_under_each_of_its_names(name: str, row: dict[str, Any]) -> None:
    assert read(row | {name: "Be brief."}).system == "Be brief."


@pytest.mark.parametrize("row", [{"prompt": "Translate."} | PAIR, {"question": "Translate."} | PAIR])
def test_input_stands_below_the_prompt(row: dict[str, Any]) -> None:
    assert read(row | {"input": "Hallo"}).messages[-1].value == "Translate.\nHallo"
    assert read(row | {"input": ""}).messages[-1].value == "Translate."
    history = [["Hi", "Hello"]]
    assert [turn.value for turn in read(row | {"history": history}).messages] == ["Hi", "Hello", "Translate."]


def test_an_input_that_the_prompt_has_already_is_not_added_again() -> None:
    filled = "Below is a task.\n\nTranslate.\n\nHallo\n\nAnswer:"
    assert read({"prompt": filled, "input": "Hallo"} | PAIR).messages[-1].value == filled
    said = "Say this in German: it is late, let us go home."
    assert read({"prompt": said, "input": "it is late, let us go home"} | PAIR).messages[-1].value == said
    assert read({"prompt": "Add 5 and x.", "input": "5"} | PAIR).messages[-1].value == "Add 5 and x.\n5"


def test_an_input_beside_messages_is_a_bad_row() -> None:
    row = {"prompt": [QUESTION], "input": "It is nine."} | PAIR
    with pytest.raises(BadRow, match="input stands beside a prompt of messages"):
        read(row)
    assert read(row | {"input": "late?"})


def test_two_system_prompts_that_differ_are_a_bad_row() -> None:
    row = {"prompt": [{"role": "system", "content": "Be brief."}, QUESTION]} | PAIR
    for same in ("Be brief.", " Be brief.\n", "", None):
        assert read(row | {"system": same}).system == "Be brief."
    with pytest.raises(BadRow, match="not the system message"):
        read(row | {"system": "Be kind."})
    with pytest.raises(BadRow, match="two columns hold different system prompts"):
        read({"prompt": "q", "system": "a", "system_prompt": "b"} | PAIR)
    empty = {"prompt": [{"role": "system", "content": " "}, QUESTION], "system": "Be kind."} | PAIR
    assert read({**empty, "prompt": [{"role": "system", "content": ""}, QUESTION]}).system


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"question": "Is it late?", "context": "It is nine."} | PAIR, "context"),
        ({"prompt": "Is it late?", "passages": [{"text": "It is nine."}]} | PAIR, "passages"),
        ({"prompt": "Is it late?", "input": "x", "Document": "It is nine."} | PAIR, "Document"),
        ({"prompt": "Is it late?", "query": "It is nine."} | LABEL, "query"),
        ({"prompt": "Is it late?", "instruction": "Use the clock."} | LISTED, "instruction"),
        ({"prompt": "Is it late?", "messages": [{"role": "user", "content": "Hi"}]} | PAIR, "messages"),
        ({"prompt": "Is it late?", "context": "Yes. No."} | PAIR, "context"),
        ({"问题": "几点了?", "上下文": "九点 半。"} | PAIR, "上下文"),
    ],
)
def test_a_piece_of_the_prompt_that_would_be_lost_stops_the_intake(row: dict[str, Any], column: str) -> None:
    def taken(rows: list[dict[str, Any]], columns: str) -> Any:
        wanted = Wanted(columns=tuple(tuple(part.split("=")[::-1]) for part in columns.split(",")))  # type: ignore[misc]
        return choose_reading(rows, "data.jsonl", wanted).to_examples(row)[0]

    with pytest.raises(DataError, match=f"data.jsonl: the column {column} looks like a piece") as stopped:
        choose_reading([row | {column: ""}, row], "data.jsonl")
    above, ignored = (part.split()[0].strip(",'") for part in stopped.value.fix.split("--columns ")[1:])
    assert row[column] not in taken([row], ignored).texts
    if isinstance(row[column], str) and column != "instruction":
        assert taken([row], above).messages[-1].value.startswith(row[column] + "\n\n")
    with pytest.raises(DataError, match=f"data.jsonl: the column {column} in a later row looks like a piece"):
        choose_reading([{**row, column: None}], "data.jsonl").to_examples(row)


def test_a_later_column_is_read_like_an_early_one() -> None:
    first = {"prompt": "Is it late?"} | PAIR
    for more, wanted in (({"system": "Be brief."}, "Be brief."), ({"note": "no matter"}, "")):
        reading = choose_reading([first] * 50, "data.jsonl")
        assert reading.to_examples(first | more)[0].system == wanted
        assert reading.to_examples(first)[0].system == ""
    reading = choose_reading([first] * 50, "data.jsonl")
    assert reading.to_examples(first | {"input": "x"})[0].messages[-1].value == "Is it late?\nx"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Is it late?", "question": "Is it late?"} | PAIR,
        {"prompt": "Is it late?", "context": "", "documents": [], "persona": None, "question_id": "some text"} | PAIR,
        {"prompt": "Is it late?", "messages": WHOLE[0]} | PAIR,
        {"prompt": "Task.\nIs it late?", "instruction": "Task.", "query": "Is it\nlate?"} | PAIR,
        {"prompt": "Is it late?", "instruction": "Is it late?"} | LISTED,
        {"prompt": "Is it late?", "chosen": WHOLE[0], "rejected": WHOLE[1], "messages": WHOLE[0]},
        {"prompt": "Is it late?", "chosen": WHOLE[0], "rejected": WHOLE[1], "messages": [QUESTION, THIRD]},
        {"prompt": "Is it late?", "conversation": [{"input": "Is it late?", "output": "A third answer."}]} | PAIR,
        {"prompt": "Is it late?", "context": "forum", "query": "https://a.b/c?d", "system_a": "gpt 4"} | PAIR,
        {"prompt": "Is it late?", "document": {"url": "https://a.b", "title": "A title of three"}} | PAIR,
        {"prompt": 'Is "it" late?', "question": "is &quot;it&quot;  late？"} | PAIR,
        {"prompt": "Is it late?", "source": "some text", "system_id": "some text", "prompt_id": "5f 3a"} | PAIR,
    ],
)
def test_what_is_not_lost_does_not_stop_it(row: dict[str, Any]) -> None:
    assert read(row).kind == "pairs"


def test_blanks_make_no_other_system_prompt() -> None:
    row = {"conversations": [{"role": "system", "content": "Be  brief.\n"}, QUESTION], "system": "Be brief."} | PAIR
    assert read(row).system == "Be  brief.\n"


def test_rows_without_a_pair_lose_nothing() -> None:
    row = {"prompt": "q", "instruction": "p", "responses": ["a", "b"], "scores": [1, 1]}
    assert choose_reading([row], "data.jsonl").to_examples(row) == []
