"""Every format, both ways: random conversations written in it are detected and come back as they were."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.errors import DataError
from rlguide.preferences.detection import detect_format, detect_pairs
from rlguide.preferences.formats import FORMATS
from rlguide.preferences.label_formats import LABEL_FORMATS
from rlguide.preferences.labelled import Labelled, check_labelled_row, from_pair, labelled_line
from rlguide.preferences.pair import BadRow, Pair, Turn, check_pair, to_line
from rlguide.preferences.readers import open_source
from rlguide.preferences.store import Tally, checked_labels, checked_pairs

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40).filter(str.strip)


@st.composite
def pairs(draw: st.DrawFn, most_turns: int = 3, with_system: bool = True) -> Pair:
    count = 2 * draw(st.integers(0, most_turns - 1)) + 1
    messages = tuple(Turn("gpt" if index % 2 else "human", draw(texts)) for index in range(count))
    chosen = draw(texts)
    rejected = draw(texts.filter(lambda text: text.strip() != chosen.strip()))
    return Pair(messages, chosen, rejected, draw(texts | st.just("")) if with_system else "")


def roles(turns: tuple[Turn, ...], system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": "assistant" if t.role == "gpt" else "user", "content": t.value} for t in turns]


def as_sharegpt(pair: Pair) -> dict[str, Any]:
    return json.loads(to_line(pair))


def as_alpaca(pair: Pair) -> dict[str, Any]:
    turns = pair.messages
    return {
        "instruction": turns[-1].value,
        "input": "",
        "history": [[turns[i].value, turns[i + 1].value] for i in range(0, len(turns) - 1, 2)],
        "system": pair.system,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
    }


def as_openai(pair: Pair) -> dict[str, Any]:
    answers = {key: {"role": "assistant", "content": getattr(pair, key)} for key in ("chosen", "rejected")}
    return {"messages": roles(pair.messages, pair.system), **answers}


def as_trl_messages(pair: Pair) -> dict[str, Any]:
    answers = {key: [{"role": "assistant", "content": getattr(pair, key)}] for key in ("chosen", "rejected")}
    return {"prompt": roles(pair.messages, pair.system), **answers}


def as_trl_text(pair: Pair) -> dict[str, Any]:
    return {"prompt": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected, "system": pair.system}


def as_trl_implicit(pair: Pair) -> dict[str, Any]:
    whole = roles(pair.messages, pair.system)
    return {key: [*whole, {"role": "assistant", "content": getattr(pair, key)}] for key in ("chosen", "rejected")}


def as_ultrafeedback(pair: Pair) -> dict[str, Any]:
    row = as_trl_implicit(pair)
    return {"prompt": pair.messages[-1].value, "prompt_id": "x", **row, "messages": row["chosen"], **scores(pair)}


def as_orca(pair: Pair) -> dict[str, Any]:
    return {"system": pair.system, "question": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected}


def scores(pair: Pair) -> dict[str, float]:
    return dict(zip(("score_chosen", "score_rejected"), pair.scores or (), strict=False))


Writer = Callable[[Pair], dict[str, Any]]
WRITERS: list[tuple[str, Writer, int]] = [  # name, writer, most turns that it can hold
    ("sharegpt", as_sharegpt, 3),
    ("alpaca", as_alpaca, 3),
    ("openai", as_openai, 3),
    ("trl", as_trl_messages, 3),
    ("trl", as_trl_text, 1),
    ("trl-implicit", as_trl_implicit, 3),
    ("ultrafeedback", as_ultrafeedback, 3),
    ("orca", as_orca, 1),
]


@pytest.mark.parametrize(("name", "writer", "turns"), WRITERS, ids=lambda value: getattr(value, "__name__", None))
def test_what_goes_in_comes_back(name: str, writer: Writer, turns: int) -> None:
    @given(st.lists(pairs(turns), min_size=1, max_size=5))
    def check(originals: list[Pair]) -> None:
        rows = [json.loads(json.dumps(writer(pair))) for pair in originals]
        form = detect_format(rows, "file")
        assert form.name == name
        assert [pair for row in rows for pair in form.to_pairs(row)] == originals
        for pair in originals:
            check_pair(pair)

    check()


def test_every_format_is_covered() -> None:
    assert {name for name, _, _ in WRITERS} == set(FORMATS)


@pytest.mark.parametrize("kind", ["array", "lines", "parquet", "csv"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(originals=st.lists(pairs(), min_size=1, max_size=6))
def test_every_kind_of_file_gives_the_same_pairs(kind: str, tmp_path: Path, originals: list[Pair]) -> None:
    path = tmp_path / f"数 据.{kind}"
    rows = [as_alpaca(pair) for pair in originals]
    if kind == "array":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    elif kind == "lines":
        path.write_bytes(b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows))
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows({**row, "history": json.dumps(row["history"])} for row in rows)
    source = open_source(path)
    tally = Tally()
    found = [pair for pair, _, _ in checked_pairs(source.rows(), FORMATS["alpaca"], tally)]
    assert tally.bad == 0, tally.refused
    assert found == originals


GOOD = Pair((Turn("human", "q"),), "a", "b")


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
        ({"prompt": 7, "chosen": "a", "rejected": "b"}, "the messages are not a list"),
        ({"prompt": "q", "chosen": 7, "rejected": "b"}, "a message is not an object with a role and a text"),
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
    from rlguide.preferences.readers import Row

    tally = Tally()
    good = {"prompt": "q", "chosen": "a", "rejected": "b"}
    kept = list(checked_pairs([Row(1, good), Row(2, row), Row(3, good)], FORMATS["trl"], tally))
    assert [(pair, position) for pair, _, position in kept] == [(GOOD, 1), (GOOD, 3)]
    assert len(tally.refused) == 1
    assert reason in next(iter(tally.refused))
    assert list(tally.positions.values()) == [[2]]


def test_conversations_that_part_early_are_refused() -> None:
    row = as_trl_implicit(Pair((Turn("human", "q"), Turn("gpt", "r"), Turn("human", "s")), "a", "b"))
    row["rejected"][1] = {"role": "assistant", "content": "other"}
    with pytest.raises(BadRow, match="differ before their last message"):
        FORMATS["trl-implicit"].to_pairs(row)


def test_alpaca_joins_instruction_and_input_as_the_engine_does() -> None:
    row = {"instruction": "Translate.", "input": "Hallo", "chosen": "Hello", "rejected": "Bye"}
    assert FORMATS["alpaca"].to_pairs(row)[0].messages == (Turn("human", "Translate.\nHallo"),)


@st.composite
def labels(draw: st.DrawFn, most_turns: int = 3) -> Labelled:
    return draw(st.sampled_from(from_pair(draw(pairs(most_turns)))))


def as_ours(row: Labelled) -> dict[str, Any]:
    return json.loads(labelled_line(row))


def as_demo(row: Labelled) -> dict[str, Any]:
    turns = (*row.messages, Turn("gpt", row.answer))
    return {"messages": roles(turns, row.system), "label": row.desirable}


def as_kto_trl_text(row: Labelled) -> dict[str, Any]:
    system = {"system": row.system} if row.system else {}
    return {"prompt": row.messages[0].value, "completion": row.answer, "label": row.desirable, **system}


def as_kto_trl_messages(row: Labelled) -> dict[str, Any]:
    answer = [{"role": "assistant", "content": row.answer}]
    return {"prompt": roles(row.messages, row.system), "completion": answer, "label": str(row.desirable)}


def as_kto_alpaca(row: Labelled) -> dict[str, Any]:
    alpaca = as_alpaca(Pair(row.messages, "", "", row.system))
    del alpaca["chosen"], alpaca["rejected"]
    return alpaca | {"output": row.answer, "kto_tag": int(row.desirable)}


LABEL_WRITERS: list[tuple[str, Callable[[Labelled], dict[str, Any]], int]] = [
    ("kto-messages", as_ours, 3),
    ("kto-messages", as_demo, 3),
    ("kto-trl", as_kto_trl_text, 1),
    ("kto-trl", as_kto_trl_messages, 3),
    ("kto-alpaca", as_kto_alpaca, 3),
]


@pytest.mark.parametrize(("name", "writer", "turns"), LABEL_WRITERS, ids=lambda value: getattr(value, "__name__", None))
def test_labelled_answers_come_back(name: str, writer: Callable[[Labelled], dict[str, Any]], turns: int) -> None:
    @given(st.lists(labels(turns), min_size=1, max_size=5))
    def check(originals: list[Labelled]) -> None:
        rows = [json.loads(json.dumps(writer(row))) for row in originals]
        form = detect_format(rows, "file")
        assert form is LABEL_FORMATS[name]
        assert [form.to_labelled(row) for row in rows] == originals
        for row in originals:
            check_labelled_row(row)
        with pytest.raises(DataError, match="labelled single answers"):
            detect_pairs(rows, "file")

    check()


def test_every_label_format_is_covered() -> None:
    assert {name for name, _, _ in LABEL_WRITERS} == set(LABEL_FORMATS)


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
    ],
)
def test_labels_mean_what_they_say(label: Any, meant: bool) -> None:
    row = {"prompt": "q", "completion": "a", "label": label}
    assert LABEL_FORMATS["kto-trl"].to_labelled(row).desirable is meant


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "q", "completion": "a"}, "the label is missing"),
        ({"prompt": "q", "completion": "a", "label": None}, "the label is missing"),
        ({"prompt": "q", "completion": "a", "label": 2}, "neither true nor false"),
        ({"prompt": "q", "completion": "a", "label": -1}, "neither true nor false"),
        ({"prompt": "q", "completion": "a", "label": "good"}, "neither true nor false"),
        ({"prompt": "q", "completion": "a", "label": [True]}, "neither true nor false"),
        ({"prompt": "q", "completion": " ", "label": True}, "the answer is empty"),
        ({"prompt": "q", "label": True}, "completion is missing"),
        ({"prompt": "", "completion": "a", "label": True}, "a message of the prompt is empty"),
        ({"prompt": "\ud800", "completion": "a", "label": True}, "not valid Unicode"),
        ({"prompt": "q", "completion": "a", "label": True, "tools": "[]"}, "uses tools or media"),
    ],
)
def test_a_bad_label_row_is_refused_with_its_reason(row: Any, reason: str) -> None:
    from rlguide.preferences.readers import Row

    tally = Tally()
    good = {"prompt": "q", "completion": "a", "label": False}
    kept = list(checked_labels([Row(1, good), Row(2, row)], LABEL_FORMATS["kto-trl"], tally))
    assert [row for row, _, _ in kept] == [Labelled((Turn("human", "q"),), "a", False)]
    assert [reason in found for found in tally.refused] == [True]


def test_messages_without_an_answer_are_refused() -> None:
    row = {"messages": [{"role": "user", "content": "q"}], "label": True}
    with pytest.raises(BadRow, match="do not end with the assistant"):
        LABEL_FORMATS["kto-messages"].to_labelled(row)


def test_pairs_with_a_further_label_stay_pairs() -> None:
    row = {"prompt": "q", "chosen": "a", "rejected": "b", "label": True}
    assert detect_format([row], "file") is FORMATS["trl"]


def test_unknown_columns_are_named() -> None:
    with pytest.raises(DataError, match="answer, question"):
        detect_format([{"question": "q", "answer": "a"}], "qa.json")
