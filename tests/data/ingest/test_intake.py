"""Files of the kinds that were once read wrongly without a word, through the whole intake."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.ingest.options import IngestOptions, parse_columns
from rlguide.data.ingest.register import register_all
from rlguide.data.store.reading import read_examples
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace

TREES = [("Name a tree.", "Oak.", "Stone."), ("Name a bird.", "Wren.", "Brick."), ("Name a fish.", "Pike.", "Chair.")]
Import = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture
def take(tmp_path: Path) -> Import:
    """Register rows as JSON lines, and tell prompt, chosen and rejected (or the label) of what is stored."""
    (tmp_path / "ws").mkdir()
    ws = Workspace(tmp_path / "ws")

    def run(rows: list[dict[str, Any]], **options: Any) -> list[tuple[str, str, str]]:
        file = tmp_path / "rows.jsonl"
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        register_all(ws, [file], IngestOptions(name="d", force=True, **{"test_size": 0, **options}))
        if options.get("dry_run"):
            return []
        return [
            (one.messages[-1].value, one.chosen, one.rejected if one.label is None else str(one.label))
            for name in ("d", "d_test")
            if (ws.data / f"{name}.parquet").exists()
            for one in read_examples(ws, name)
        ]

    return run


@pytest.mark.parametrize(
    "row",
    [
        lambda q, a, b: {"prompt": json.dumps([{"role": "user", "content": q}]), "chosen": a, "rejected": b},
        lambda q, a, b: {
            "prompt": str([{"from": "human", "value": q}]),
            "chosen": str([{"from": "gpt", "value": a}]),
            "rejected": str([{"from": "gpt", "value": b}]),
        },
        lambda q, a, b: {
            "chosen": f"### Human: {q}\n### Assistant: {a}",
            "rejected": f"### Human: {q}\n### Assistant: {b}",
        },
        lambda q, a, b: {"prompt": f"<|user|>\n{q}</s>\n<|assistant|>\n", "chosen": f"{a}</s>", "rejected": f"{b}</s>"},
        lambda q, a, b: {"instruction": q, "output": [b, a], "preference": 2},
        lambda q, a, b: {"prompt": q, "completions": [b, a], "chosen_index": 1},
        lambda q, a, b: {"query": q, "selected": a, "rejected": b},
        lambda q, a, b: {
            "messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
            "rejected_response": b,
        },
        lambda q, a, b: {"question": q, "answers": [b, "A weed.", a], "ranks": [3, 2, 1]},
        lambda q, a, b: {"问题": q, "好的回答": a, "差的回答": b},
        lambda q, a, b: {"prompt": [q], "chosen": [a], "rejected": [b]},
        lambda q, a, b: {
            "data": {"prompt": q, "answer1": b, "answer2": a},
            "annotations": [{"result": [{"from_name": "p", "value": {"selected": "right"}}]}],
        },
        lambda q, a, b: {
            "fields": {"prompt": q, "response-1": a, "response-2": b},
            "responses": [{"values": {"preference": {"value": "response-1"}}, "status": "submitted"}],
        },
    ],
)
def test_three_pairs_come_out_of_every_shape(take: Import, row: Callable[..., dict[str, Any]]) -> None:
    assert take([row(*tree) for tree in TREES]) == TREES


def test_a_late_piece_of_the_prompt_stops_the_import(take: Import) -> None:
    rows = [{"prompt": f"{q} {n}", "chosen": a, "rejected": b} for n in range(25) for q, a, b in TREES]
    with pytest.raises(DataError, match=r"rows.jsonl: the column context in a later row looks like a piece") as stopped:
        take([*rows, rows[0] | {"context": "It is dark in here."}])
    above, ignored = re.findall(r"--columns (\S+?),? |--columns (\S+)$", stopped.value.fix)
    late = rows[0] | {"context": "It is dark in here."}
    assert take([*rows, late], columns=above[0])[-1][0] == "It is dark in here.\n\nName a tree. 0"
    assert take([*rows, late], columns=ignored[1])[-1][0] == "Name a tree. 0"


def test_columns_are_what_a_person_says(take: Import) -> None:
    rows = [{"a": q, "b": a, "c": b, "prompt": "not this"} for q, a, b in TREES]
    with pytest.raises(DataError, match="a, b, c"):
        take(rows)
    assert take(rows, columns="prompt=a,chosen=b,rejected=c,ignored=prompt") == TREES
    rows = [{"q": q, "x": b, "y": a, "pick": "y"} for q, a, b in TREES]
    assert take(rows, columns="prompt=q,response_a=x,response_b=y,verdict=pick") == TREES
    with pytest.raises(UsageError, match="has no column z"):
        take(rows, columns="prompt=z")
    with pytest.raises(UsageError, match=r"promt is nothing that a column can hold .*prompt"):
        take(rows, columns="promt=q")
    with pytest.raises(UsageError, match="does not say which column holds what"):
        take(rows, columns="q")


def test_the_names_of_columns_may_hold_commas_and_signs() -> None:
    assert parse_columns("prompt=a, b,chosen=c=d") == (("a, b", "prompt"), ("c=d", "chosen"))


def test_misspelt_columns_are_guessed_in_the_refusal(take: Import) -> None:
    rows = [{"promt": q, "choosen": a, "rejcted": b, "id": 7} for q, a, b in TREES]
    with pytest.raises(DataError) as stopped:
        take(rows)
    assert take(rows, columns=stopped.value.fix.rpartition("--columns ")[2]) == TREES


def test_ratings_need_a_word_on_what_is_good(take: Import) -> None:
    rows = [{"prompt": q, "response": text, "stars": stars} for q, a, b in TREES for text, stars in ((a, 5), (b, 2))]
    with pytest.raises(DataError, match="from 2 to 5") as stopped:
        take(rows)
    assert stopped.value.fix.endswith("--good-from 5")
    assert sorted(take(rows, good_from=4.0)) == sorted(
        one for q, a, b in TREES for one in ((q, a, "True"), (q, b, "False"))
    )


def test_rows_of_a_test_split_are_held_out(take: Import, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt": f"{q} {n}", "chosen": a, "rejected": b, "split": split}
        for n, split in enumerate(["train"] * 3 + ["test", "validation"])
        for q, a, b in TREES
    ]
    assert [asked.endswith("3") for asked, *_ in take(rows)] == [False] * 9 + [True] * 3
    said = capsys.readouterr().err
    assert "split says the split: 9 rows of train, 3 of test are held out; not taken: 3 of validation" in said
    assert len(take(rows, columns="ignored=split")) == 15
    take([row | {"split": "test"} for row in rows])
    assert "all rows are marked test in the column split" in capsys.readouterr().err
    odd = [row | {"split": "abc"[at % 3]} for at, row in enumerate(rows)]
    with pytest.raises(UsageError, match="has the values a, b, c"):
        take(odd)


def test_a_dry_run_shows_three_rows_and_writes_nothing(
    take: Import, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": q, "chosen": a, "rejected": b} for q, a, b in TREES * 4]
    take(rows, dry_run=True)
    assert list((tmp_path / "ws").rglob("*")) == []
    said = capsys.readouterr().err
    assert said.count("as it will be stored") == 3
    assert "rejected  Chair." in said


def test_labels_that_are_all_the_same_are_named(take: Import, capsys: pytest.CaptureFixture[str]) -> None:
    take([{"question": q, "answer": a, "rating": "down"} for q, a, _ in TREES])
    assert "all 3 responses are undesirable" in capsys.readouterr().err


def test_what_was_said_of_columns_is_kept_in_the_advice(take: Import) -> None:
    rows = [{"a": q, "good one": a, "b": b, "context": "It is dark in here."} for q, a, b in TREES]
    given = "prompt=a,chosen=good one,rejected=b"
    with pytest.raises(DataError) as stopped:
        take(rows, columns=given)
    for offered in re.findall(r"--columns '([^']+)'", stopped.value.fix):
        assert offered.startswith(given)
        assert [asked[-12:] for asked, *_ in take(rows, columns=offered)] == [q[-12:] for q, *_ in TREES]
