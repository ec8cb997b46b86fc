"""Every shape, both ways: random conversations written in it are recognised and come back as they were."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlguide.data.checks.examples import check_example
from rlguide.data.curate.filters import Filters
from rlguide.data.example import BadRow, Example, Turn
from rlguide.data.formats.base import KINDS, SHAPES, Wanted
from rlguide.data.formats.reading import Reading, choose_reading
from rlguide.data.ingest.pipeline import import_rows
from rlguide.data.store.row_counts import RowCounts
from rlguide.errors import DataError, UsageError
from tests.data.conversations import (
    LABEL_WRITERS,
    WRITERS,
    Writer,
    as_trl_implicit,
    as_trl_messages,
    as_ultrafeedback,
    expected,
    expected_label,
    labels,
    message,
    pairs,
)


@pytest.mark.parametrize(("name", "writer", "turns"), WRITERS, ids=lambda value: getattr(value, "__name__", None))
def test_what_goes_in_comes_back(name: str, writer: Writer, turns: int) -> None:
    @settings(max_examples=40)
    @given(st.lists(pairs(turns), min_size=1, max_size=4, unique_by=lambda pair: pair.messages[0].value.strip()))
    def check(originals: list[Example]) -> None:
        # A common beginning that is data or markup is not taken for a prompt without being asked.
        assume(
            name != "implicit-text"
            or not any(re.match(r"\s*(\[|{|<|array\()", pair.messages[0].value) for pair in originals)
        )
        rows = [json.loads(json.dumps(writer(pair))) for pair in originals]
        reading = choose_reading(rows, "file")
        assert (reading.kind, reading.name) == ("pairs", name)
        assert [pair for row in rows for pair in reading.to_examples(row)] == [
            expected(writer, pair) for pair in originals
        ]
        for pair in originals:
            check_example(pair)

    check()


EVERY_WRITER = [*((name, write) for name, write, _ in WRITERS), *((name, write) for name, write, _ in LABEL_WRITERS)]
MEDIA = ("tools", "images", "image", "videos", "audios", "video_path", "image_path")


def told(*texts: str, system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


def read(*rows: dict[str, Any], **wanted: Any) -> Reading:
    return choose_reading(list(rows), "file", Wanted(**wanted))


def examples_of(row: dict[str, Any], **wanted: Any) -> list[Example]:
    return read(row, **wanted).to_examples(row)


@pytest.mark.parametrize(("name", "writer"), EVERY_WRITER, ids=lambda value: getattr(value, "__name__", None))
@pytest.mark.parametrize("column", MEDIA)
def test_tools_and_media_are_not_dropped_unsaid(
    name: str, writer: Callable[[Any], dict[str, Any]], column: str
) -> None:
    turns = (Turn("human", "What is this?"),)
    if KINDS[name] == "pairs":
        row = writer(Example.pair(turns, "A cat. It sleeps.", "A dog. It barks.", "", (5.0, 1.0)))
    else:
        row = writer(Example.labelled(turns, "A cat. It sleeps.", True))
    for nothing in (None, [], "[]", "null", ""):
        assert examples_of({**row, column: nothing}) == examples_of(row)
    assert column in read({**row, column: None}).columns, "or Parquet files would be read without it"
    late = read(row)
    for reading in (read({**row, column: ["cat.png"]}), late):
        with pytest.raises(BadRow, match="uses tools or media"):
            reading.to_examples({**row, column: ["cat.png"]})


def test_every_shape_is_covered() -> None:
    there = {name for name, *_ in [*WRITERS, *LABEL_WRITERS]}
    assert there == {*SHAPES} - {"ranked-list", "response"}
    assert [one.chosen for one in examples_of({"instruction": "q", "output": ["a", "b"]})] == ["a"]


@pytest.mark.parametrize(
    ("row", "prompt", "system"),
    [
        ({"prompt": "q", "response": "a"}, ["q"], ""),
        ({"instruction": "q", "input": "more", "output": "a"}, ["q\nmore"], ""),
        ({"id": 7, "sample_id": "x-1", "prompt": "q", "response": "a"}, ["q"], ""),
        ({"instruction": "q", "output": "a", "system": "s", "history": [["old", "said"]]}, ["old", "said", "q"], "s"),
        ({"messages": told("q", "a")}, ["q"], ""),
        ({"messages": told("old", "said", "q", "a", system="s")}, ["old", "said", "q"], "s"),
        ({"conversations": told("q")}, None, ""),
    ],
)
def test_single_responses_are_for_sft(row: dict[str, Any], prompt: list[str] | None, system: str) -> None:
    """Files of instruction and output, or of conversations; a conversation without a response at its end has none."""
    reading = read(row)
    assert (reading.kind, reading.name) == ("responses", "response")
    if prompt is None:
        with pytest.raises(BadRow, match="do not end with the assistant"):
            reading.to_examples(row)
        return
    (example,) = reading.to_examples(row)
    assert ([turn.value for turn in example.messages], example.system) == (prompt, system)
    assert (example.responses, example.label, example.kind) == (("a",), None, "responses")


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "response": "a", "checks": "passed 3 of 7"},
        {"prompt": "q", "response": "a", "rating": 4},
        {"prompt": "q", "response": "a", "flagged": True},
        {"prompt": "q", "response": "a", "response_b": "b"},
    ],
)
def test_what_may_say_how_good_a_response_is_is_not_taken_for_sft_unasked(row: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        read(row)
    assert read(row, form="response").kind == "responses"


GOOD = Example.pair((Turn("human", "q"),), "a", "b")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "chosen": "a"}, "rejected is missing"),
        ({"prompt": "q", "chosen": "a", "rejected": None}, "rejected is missing"),
        ({"prompt": "q", "chosen": " \n", "rejected": "b"}, "chosen is empty"),
        ({"prompt": "q", "chosen": "a", "rejected": ""}, "rejected is empty"),
        ({"prompt": "q", "chosen": "same", "rejected": "same "}, "chosen equals rejected"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "a message of the prompt is empty"),
        ({"prompt": [], "chosen": "a", "rejected": "b"}, "the prompt is empty"),
        ({"prompt": True, "chosen": "a", "rejected": "b"}, "the prompt is not text"),
        ({"prompt": "q", "chosen": {"x": 1}, "rejected": "b"}, "chosen is an object without a text"),
        ({"prompt": "q", "chosen": float("nan"), "rejected": "b"}, "chosen is missing"),
        ({"prompt": "q", "chosen": True, "rejected": "b"}, "chosen is not text"),
        ({"prompt": "q", "chosen": "a", "rejected": ["b", "c"]}, "rejected is a list of texts, not one response"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "system": ["x"]}, "system is not text"),
        ({"prompt": "\ud800", "chosen": "a", "rejected": "b"}, "a text is not valid Unicode"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": "[...]"}, "uses tools or media"),
        ({"prompt": [{"role": "user", "content": "q"}] * 2, "chosen": "a", "rejected": "b"}, "roles do not alternate"),
        ({"prompt": [{"role": "assistant", "content": "q"}], "chosen": "a", "rejected": "b"}, "roles do not alternate"),
        ({"prompt": [{"role": "elf", "content": "q"}], "chosen": "a", "rejected": "b"}, "unknown role"),
        ({"prompt": [{"role": "tool", "content": "q"}], "chosen": "a", "rejected": "b"}, "uses tools"),
        ({"prompt": [{"role": "user"}], "chosen": "a", "rejected": "b"}, "a message has no text"),
        ("text", "not an object"),
        (None, "not an object"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason(row: Any, reason: str) -> None:
    from rlguide.data.readers.source import Row

    counts = RowCounts()
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    counts.open("a.jsonl", "line")
    kept = list(import_rows([Row(1, good), Row(2, row), Row(3, good)], read(good), counts, Filters()))
    assert kept == [GOOD, GOOD]
    assert len(counts.invalid) == 1
    assert reason in next(iter(counts.invalid))
    assert counts.lines()[0].endswith("  line 2")


LISTS = {"prompt": "q", "chosen": ["a1", "a2", "same"], "rejected": ["b1", "b2", "same"]}


def test_lists_of_chosen_and_rejected_responses_are_a_pair_for_each_position() -> None:
    assert [(pair.chosen, pair.rejected) for pair in examples_of(LISTS)] == [("a1", "b1"), ("a2", "b2")]
    for lists in ({"rejected": ["b1", "b2"]}, {"rejected": "b1"}, {"chosen": None}):
        with pytest.raises(BadRow, match="not lists of as many responses"):
            read(LISTS).to_examples(LISTS | lists)
    with pytest.raises(DataError, match="chosen holds lists of texts"):  # which of the chosen ones is the better one?
        read(LISTS | {"rejected": "b1"})


STEPS = {"prompt": "q", "initial_reason_steps": "Step 1. ", "chosen": "Step 2.", "rejected": "Stop."}


def test_steps_that_both_responses_begin_with_are_part_of_them() -> None:
    (pair,) = examples_of(STEPS)
    assert (pair.messages, pair.responses) == ((Turn("human", "q"),), ("Step 1. Step 2.", "Step 1. Stop."))
    whole = {side: f"Step 1. {STEPS[side]}" for side in ("chosen", "rejected")}
    assert examples_of(STEPS | whole) == [pair], "they are not repeated"
    for nothing in (None, "", "None"):
        assert read(STEPS).to_examples(STEPS | {"initial_reason_steps": nothing})[0].chosen == "Step 2."
    said = {"steps" if name == "initial_reason_steps" else name: text for name, text in STEPS.items()}
    assert examples_of(said, columns=(("steps", "beginning"),)) == [pair]
    only = {name: STEPS[name] for name in ("initial_reason_steps", "chosen", "rejected")}
    with pytest.raises(DataError):  # they are no prompt
        read(only)


def test_steps_of_one_labelled_response_are_not_lost() -> None:
    row = {"prompt": "q", "initial_reason_steps": "Step 1 of them. ", "response": "Step 2.", "label": True}
    with pytest.raises(DataError, match="initial_reason_steps looks like a piece"):
        read(row)


def test_text_of_messages_that_is_not_read_is_named() -> None:
    thought = {"role": "assistant", "content": "a", "reasoning_content": "Let me think about it.", "name": "bot"}
    row = {"prompt": [{"role": "user", "content": "q"}], "chosen": [thought], "rejected": [message("b")]}
    assert "not used: reasoning_content of messages" in read(row).explain([row])
    assert "not used" not in read(row | {"chosen": [message("a")]}).explain([row])


def test_conversations_that_part_early_are_refused() -> None:
    row = as_trl_implicit(Example.pair((Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s")), "a", "b"))
    row["rejected"][1] = {"role": "assistant", "content": "other"}
    with pytest.raises(BadRow, match="differ before their last message"):
        examples_of(row)


def test_alpaca_joins_instruction_and_input_as_the_engine_does() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "chosen": "Hello", "rejected": "Bye"}
    assert examples_of(row)[0].messages == (Turn("human", "Translate.\nHallo"),)


@pytest.mark.parametrize(("name", "writer", "turns"), LABEL_WRITERS, ids=lambda value: getattr(value, "__name__", None))
def test_labelled_answers_come_back(name: str, writer: Callable[[Example], dict[str, Any]], turns: int) -> None:
    @settings(max_examples=40)
    @given(st.lists(labels(turns), min_size=1, max_size=5))
    def check(originals: list[Example]) -> None:
        rows = [json.loads(json.dumps(writer(row))) for row in originals]
        reading = choose_reading(rows, "file")
        assert reading.name == name
        assert [example for row in rows for example in reading.to_examples(row)] == [
            expected_label(writer, row) for row in originals
        ]
        for row in originals:
            check_example(row)

    check()


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        (True, True),
        (False, False),
        (1, True),
        (0, False),
        (1.0, True),
        ("true", True),
        ("False", False),
        (" 0 ", False),
        (-1, False),
        ("up", True),
        ("踩", False),
    ],
)
def test_labels_mean_what_they_say(label: Any, meant: bool) -> None:
    row = {"prompt": "q", "completion": "a", "label": label}
    assert examples_of(row)[0].label is meant


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "completion": "a"}, "the label is missing"),
        ({"prompt": "q", "completion": "a", "label": None}, "the label is missing"),
        ({"prompt": "q", "completion": "a", "label": 2}, "neither true nor false"),
        ({"prompt": "q", "completion": "a", "label": "so so"}, "neither true nor false"),
        ({"prompt": "q", "completion": "a", "label": [True]}, "neither true nor false"),
        ({"prompt": "q", "completion": " ", "label": True}, "the response is empty"),
        ({"prompt": "q", "label": True}, "completion is missing"),
        ({"prompt": "", "completion": "a", "label": True}, "a message of the prompt is empty"),
        ({"prompt": "\ud800", "completion": "a", "label": True}, "not valid Unicode"),
        ({"prompt": "q", "completion": "a", "label": True, "tools": "[{}]"}, "uses tools or media"),
    ],
)
def test_a_bad_label_row_is_refused_with_its_reason(row: Any, reason: str) -> None:
    from rlguide.data.readers.source import Row

    counts = RowCounts()
    good = {"prompt": "q", "completion": "a", "label": False}
    counts.open("a.jsonl", "line")
    kept = list(import_rows([Row(1, good), Row(2, row)], read(good), counts, Filters()))
    assert kept == [Example.labelled((Turn("human", "q"),), "a", False)]
    assert [reason in found for found in counts.invalid] == [True]


def test_messages_without_an_answer_are_refused() -> None:
    row = {"messages": [{"role": "user", "content": "q"}], "label": True}
    with pytest.raises(BadRow, match="do not end with the assistant"):
        read(row | {"messages": [*row["messages"], {"role": "assistant", "content": "a"}]}).to_examples(row)


def test_pairs_with_a_further_label_stay_pairs() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "label": True}
    assert read(row).name == "pair"


def test_unknown_columns_are_named() -> None:
    with pytest.raises(DataError, match="note, number"):
        read({"note": "q", "number": 1})


def test_text_in_parts_is_joined_and_pictures_are_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    row = {"prompt": [{"role": "user", "content": parts}], "chosen": "a", "rejected": "b"}
    assert examples_of(row)[0].messages == (Turn("human", "ab"),)
    parts.append({"type": "image", "text": ""})
    with pytest.raises(BadRow, match="not text alone"):
        examples_of(row)


@pytest.mark.parametrize("score", [None, "", "high", float("nan"), float("inf"), True, [8], 10**400])
def test_a_score_that_is_no_number_is_none(score: Any) -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 1.0, "score_rejected": score}
    assert examples_of(row)[0].scores is None


def test_scores_come_as_numbers_from_text() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "chosen_score": "8.5", "rejected_score": Decimal("3.0")}
    assert examples_of(row)[0].scores == (8.5, 3.0)


def test_a_prompt_that_is_not_the_question_is_refused() -> None:
    row = as_ultrafeedback(Example.pair((Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s")), "a", "b"))
    whole = as_trl_messages(Example.pair((Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s")), "a", "b"))[
        "prompt"
    ]
    for good in ("q", "s", " s\n", whole):
        assert len(examples_of(row | {"prompt": good})) == 1
    for bad in ("r", "t", [{"role": "user", "content": "s"}]):
        with pytest.raises(BadRow, match="not the one in chosen"):
            examples_of(row | {"prompt": bad})


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: r\n\nAssistant: b"}, "differ before"),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "b"}, "not a complete conversation"),
        ({"chosen": "\n\nHuman: q", "rejected": "\n\nHuman: q"}, "prompt is missing"),
        (
            {"prompt": "x", "chosen": "Human: q\n\nAssistant: a", "rejected": "Human: q\n\nAssistant: b"},
            "not the one in chosen",
        ),
    ],
)
def test_broken_dialogues_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        examples_of(row)


def test_texts_without_a_shared_prompt_are_refused() -> None:
    with pytest.raises(BadRow, match="do not begin with the same prompt"):
        examples_of({"chosen": "Blue", "rejected": "Black"}, form="implicit-text")


def test_texts_beside_another_text_are_not_taken_for_an_implicit_prompt() -> None:
    with pytest.raises(DataError, match="its columns are chosen, rejected, topic") as stopped:
        read({"topic": "What is the sky like?", "chosen": "It is blue", "rejected": "It is red"})
    assert "--columns prompt=topic,chosen=chosen,rejected=rejected" in stopped.value.fix


SURE = [{"chosen": f"Sure, here is the {n} I like", "rejected": f"Sure, here is the {n + 1} I like"} for n in range(9)]
TALES = [{"chosen": f"Tale {n} of the sea and of ships", "rejected": f"Tale {n} of the hills"} for n in range(9)]


@pytest.mark.parametrize(
    ("rows", "doubt"),
    [
        (SURE, 'too much alike to be prompts, for example "Sure, here is the"'),
        (TALES, 'do not end where a line or a sentence ends, for example "Tale 0 of the"'),
        (SURE[:2] + [{"chosen": "One", "rejected": "Two"}] * 2, "only 2 of 4 rows have a common beginning"),
    ],
)
def test_a_common_beginning_is_a_prompt_only_with_good_evidence(rows: list[dict[str, str]], doubt: str) -> None:
    with pytest.raises(DataError, match=doubt) as stopped:
        read(*rows)
    assert "--format implicit-text" in stopped.value.fix
    assert read(*rows, form="implicit-text").name == "implicit-text"


def test_prompts_with_several_pairs_are_found() -> None:
    rows = [
        {
            key: f"Summarise post {n // 8}.\n\nTL;DR: {answer} {n}"
            for key, answer in (("chosen", "A"), ("rejected", "B"))
        }
        for n in range(50)
    ]
    assert read(*rows).name == "implicit-text"
    alike = [{key: f"Sure, here it is:\n{key} {n}" for key in ("chosen", "rejected")} for n in range(50)]
    with pytest.raises(DataError, match="too much alike"):
        read(*alike)


@pytest.mark.parametrize("end", ["?", ":", "。", "؟", "।", "…", '."', "！」", "\n", "\n\nAnswer:"])
def test_prompts_that_end_like_prompts_are_found(end: str) -> None:
    rows = [
        {key: f"Question {n}, what is it{end} {answer}" for key, answer in (("chosen", "This"), ("rejected", "That"))}
        for n in range(9)
    ]
    rows.append({"chosen": f"What is ten{end} The one", "rejected": f"What is ten{end} The other"})  # begin alike
    assert read(*rows).name == "implicit-text"


def test_one_dialogue_among_texts_without_markers_stays_a_dialogue() -> None:
    rows: list[dict[str, Any]] = [
        {"chosen": f"Human: {n}?\n\nAssistant: a", "rejected": f"Human: {n}?\n\nAssistant: b"} for n in range(5)
    ]
    rows.append({"chosen": "Broken? a", "rejected": "Broken? b"})
    assert read(*rows).name == "pair", "though all six begin alike"


def test_dialogues_without_blank_lines_are_dialogues() -> None:
    row = {
        "chosen": "Human: q\nAssistant: r\nHuman: s\nAssistant: a\n\nb",
        "rejected": "Human: q\nAssistant: r\nHuman: s\nAssistant: c",
    }
    turns = (Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s"))
    assert examples_of(row) == [Example.pair(turns, "a\n\nb", "c")]
    prompt_turns = {"prompt": "Human: q\nAssistant:", "chosen": " a", "rejected": " b"}
    assert examples_of(prompt_turns) == [GOOD]


@pytest.mark.parametrize("chosen", ["a\nHuman: more?\nAssistant: yes", "a\nHuman: more?", "a\nAssistant: yes"])
def test_an_answer_that_goes_on_as_a_dialogue_is_refused(chosen: str) -> None:
    row = {"chosen": f"Human: q\nAssistant: {chosen}", "rejected": "Human: q\nAssistant: b"}
    with pytest.raises(BadRow, match=r"differ before|does not end with the assistant"):
        examples_of(row)
    blank = {"chosen": f"Human: q\n\nAssistant: {chosen}", "rejected": "Human: q\n\nAssistant: b"}
    assert examples_of(blank) == [Example.pair((Turn("human", "q"),), chosen, "b")], "with blank lines it is one answer"


def test_messages_beside_whole_conversations_are_left_to_these() -> None:
    pair = Example.pair((Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s")), "a", "b")
    row = as_trl_implicit(pair)
    row["messages"] = row["chosen"]
    assert examples_of(row) == [pair]
    assert examples_of(row | {"prompt": None}) == [pair], "an empty column says nothing"


def test_a_shape_that_is_not_there_is_refused() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    with pytest.raises(DataError, match="cannot be read as label") as stopped:
        read(row, form="label")
    assert stopped.value.fix == "leave out --format"
    with pytest.raises(UsageError, match="no format pairs"):
        read(row, form="pairs")


@pytest.mark.parametrize("tools", ["[]", "null", " {} ", "", [], None])
def test_no_tools_are_no_tools(tools: Any) -> None:
    assert examples_of({"prompt": "q", "chosen": "a", "rejected": "b", "tools": tools}) == [GOOD]


def test_ratings_follow_the_order_of_the_answers() -> None:
    row = {"input": "q", "chosen": "a", "rejected": "b", "rating": [9, 7]}
    for answers, found in ((None, (9, 7)), (["a", "b"], (9, 7)), (["b", "a"], (7, 9)), (["a", "c"], None)):
        assert examples_of(row | {"generations": answers})[0].scores == found
    for bad in ([9], [9, "x"], [9, 8, 7], 9):
        assert examples_of(row | {"rating": bad})[0].scores is None


ANSWERS = [("a", 1.0), ("b", 3.0), ("c", 2.0), ("d", 3.0)]


def scored(entries: list[tuple[str, Any]], column: str = "scores") -> dict[str, Any]:
    return {"prompt": "q", "responses": [text for text, _ in entries], column: [score for _, score in entries]}


def couples(row: dict[str, Any], pairing: str = "best-worst") -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in examples_of(row, pairing=pairing)]


def test_scored_answers_are_paired_as_asked() -> None:
    assert couples(scored(ANSWERS)) == [("b", "a")]
    every = [("b", "c"), ("b", "a"), ("d", "c"), ("d", "a"), ("c", "a")]
    assert couples(scored(ANSWERS), "all") == every


@given(st.lists(st.tuples(st.text("xyz", min_size=1), st.integers(0, 4)), min_size=2, max_size=6))
def test_every_pair_of_unequal_scores_is_made_once(entries: list[tuple[str, int]]) -> None:
    wanted = sorted((a, b) for a, s in entries for b, r in entries if s > r and a != b)
    assert sorted(couples(scored(entries), "all")) == wanted
    for best, worst in couples(scored(entries)):
        assert (best, max(s for _, s in entries)) in entries
        assert (worst, min(s for _, s in entries)) in entries


def test_the_first_rank_is_the_best() -> None:
    assert couples(scored([("a", 2), ("b", 1), ("c", 3)], "ranks")) == [("b", "c")]
    nectar = {
        "prompt": "\n\nHuman: q\n\nAssistant: ",
        "answers": [{"answer": "a", "rank": 2.0}, {"answer": "b", "rank": 1.0}],
    }
    assert read(nectar).name == "scored-list"
    pair = examples_of(nectar)[0]
    assert (pair.messages, pair.chosen, pair.rejected) == ((Turn("human", "q"),), "b", "a")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (scored([("a", 1)]), "fewer than two responses have a score"),
        (scored([("a", 1), ("b", None)]), "fewer than two responses have a score"),
        (scored([("a", 1), ("b", 2)]) | {"scores": [1]}, "not as many scores as responses"),
        ({"prompt": "q", "responses": [{}, {}], "scores": [1, 2]}, "an object without a text"),
        ({"prompt": "q", "completions": [{"role": "user", "content": "a"}], "scores": [1]}, "not a message of the"),
    ],
)
def test_scored_lists_without_a_pair_are_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadRow, match=reason):
        examples_of(row)


def test_only_known_pairings_are_taken() -> None:
    with pytest.raises(UsageError, match="no pairing worst"):
        read(scored(ANSWERS), pairing="worst")


def test_how_rows_are_read_is_said() -> None:
    row = {"id": 7, "query": "q", "chosen": "a", "rejected": "b", "score_chosen": 1, "score_rejected": 0}
    rows = [row, row | {"chosen": None}, "broken"]
    said = choose_reading(rows, "file").explain(rows)
    assert "pair: prompt from query, chosen, rejected, score_chosen, score_rejected;" in said
    assert "1 of the first 3 rows fit" in said
    assert "not used: id" in said


@pytest.mark.parametrize(("name", "writer"), [(name, writer) for name, writer, _ in [*WRITERS, *LABEL_WRITERS]])
def test_only_the_named_columns_are_looked_at(name: str, writer: Callable[[Any], dict[str, Any]]) -> None:
    """A Parquet file is read without the others: a conversion that looked at one would see it missing."""
    pair = Example.pair((Turn("human", "Is it?"),), "a", "b", "s", (2.0, 1.0))
    row = writer(pair if KINDS[name] == "pairs" else Example.labelled(pair.messages, "a", True, "s"))
    reading = read(row)
    assert reading.to_examples({name: row[name] for name in reading.columns if name in row}) == reading.to_examples(row)


KEYS = ["role", "content", "from", "value", "messages", "response", "overall_score", "score", "rank", "text"]
LEAVES = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["", "user", "gpt", "q", "2"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
        | st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": inner})
    ),
    max_leaves=6,
)


NAMES = ["prompt", "chosen", "rejected", "messages", "response_a", "response_b", "winner", "responses", "scores"]
NAMES += ["label", "completion", "system", "history", "input", "output", "rank", "context", "chosen_index", "rating"]


@settings(max_examples=500)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6), min_size=1, max_size=4))
def test_nonsense_is_refused_and_never_stops_the_rest(rows: list[dict[str, Any]]) -> None:
    try:
        reading = choose_reading(rows[:2], "file")
    except DataError as stopped:
        assert stopped.fix
        return
    reading.explain(rows)
    for row in rows:
        try:
            for example in reading.to_examples(row):
                check_example(example)
                assert all(isinstance(text, str) for text in (example.system, *example.responses))
        except BadRow as reason:
            assert len(str(reason)) < 100  # reasons are counted: no row's own text is in them
        except DataError as stopped:
            assert stopped.fix
