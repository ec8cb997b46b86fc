"""Single responses for SFT: registered, read back, filtered, inspected, shown, and refused where pairs are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.curate.filters import Filters
from rlguide.data.example import Example, Turn
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.reading import choose_reading
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.pipeline import describe
from rlguide.data.ingest.register import register_all, register_path
from rlguide.data.ingest.views import view_names
from rlguide.data.inspect.conversation import as_json
from rlguide.data.inspect.inspection import InspectOptions, inspect_dataset
from rlguide.data.inspect.listing import list_datasets
from rlguide.data.inspect.screen import show
from rlguide.data.store.columns import COLUMNS, from_row, schema, to_batch
from rlguide.data.store.dataset_info import dataset_kind, read_registry
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.one_row import read_row
from rlguide.data.store.prompts import fingerprint, prompt_fingerprints
from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import check_registered
from rlguide.data.store.remove import remove
from rlguide.data.store.rename import rename
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace

ROWS: list[dict[str, Any]] = [{"instruction": f"问 {n}?", "input": "", "output": f"答 {n}"} for n in range(40)]
TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Name a tree."},
        {"role": "assistant", "content": "Oak."},
    ]
}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def put(ws: Workspace, name: str, rows: list[dict[str, Any]], **options: Any) -> list[str]:
    file = ws.root / f"{name}.jsonl"
    file.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return describe(register_path(ws, file, IngestOptions(**{"test_size": 0.0, **options})))


def test_what_goes_in_comes_back(ws: Workspace) -> None:
    said = put(ws, "mine", ROWS, test_size=0.25)
    assert "mine: 30 responses to train on in data/mine.parquet" in said
    found = [*read_examples(ws, "mine"), *read_examples(ws, "mine_test")]
    assert {(one.messages[0].value, one.responses, one.label, one.kind) for one in found} == {
        (row["instruction"], (row["output"],), None, "responses") for row in ROWS
    }
    assert dataset_kind(ws, "mine") == "responses"
    assert read_registry(ws)["mine"]["columns"] == {
        "prompt": "prompt",
        "history": "history",
        "system": "system",
        "response": "response",
    }
    (dataset,) = check_registered(ws, ["mine"], "responses")
    assert (dataset.rows, dataset.heldout, dataset.ranking) == (30, "mine_test", False)
    manifest = read_manifest(ws, "mine")
    assert manifest is not None and manifest.kind == "responses"
    assert {*prompt_fingerprints(ws, "mine"), *prompt_fingerprints(ws, "mine_test")} == {
        fingerprint((Turn("human", row["instruction"]),)) for row in ROWS
    }
    assert view_names(ws, ["mine"], "sft") == ["mine"]
    own = [(line.name, line.kind, line.purpose) for line in list_datasets(ws) if line.hub_id is None]
    assert own == [("mine", "responses", "your own: responses, for SFT")]


def test_a_conversation_keeps_its_turns_and_its_system_prompt(ws: Workspace) -> None:
    put(ws, "talks", [TALK, TALK | {"messages": TALK["messages"][1:]}])
    first, second = read_examples(ws, "talks")
    assert [turn.value for turn in first.messages] == ["Hi", "Hello.", "Name a tree."]
    assert (first.system, second.system, first.responses) == ("Be brief.", "", ("Oak.",))
    row = read_row(ws, "talks")
    assert as_json(ws, row)["response"] == "Oak." and row.kind == "responses"


def test_examples_go_through_a_batch() -> None:
    examples = [Example.single((Turn("human", "q"),), "a"), Example.single((Turn("human", "r"),), "b", "s")]
    batch = to_batch(examples, "responses")
    assert tuple(batch.schema.names) == COLUMNS["responses"] and batch.schema == schema("responses")
    assert [from_row(row) for row in batch.to_pylist()] == examples
    assert {one.kind for one in examples} == {"responses"}


def test_duplicates_and_bad_rows_are_dropped(ws: Workspace) -> None:
    rows = [*ROWS, *ROWS[:5], {"instruction": "q?", "output": " "}]
    put(ws, "mine", rows, filters=Filters(dedupe=True), keep_good=True)
    assert len(list(read_examples(ws, "mine"))) == len(ROWS)
    manifest = read_manifest(ws, "mine")
    assert manifest is not None and sum(manifest.left_out.values()) == 5
    assert manifest.refused == {"the response is empty": 1}


def test_two_responses_to_a_prompt_are_no_contradiction(ws: Workspace) -> None:
    rows = [{"prompt": "Name a tree, please, whichever comes to your mind.", "response": f"Tree {n}."} for n in (1, 2)]
    put(ws, "mine", rows, filters=Filters(dedupe=True))
    assert {one.chosen for one in read_examples(ws, "mine")} == {"Tree 1.", "Tree 2."}


@pytest.mark.parametrize("options", [{"balance_length": True}, {"min_margin": 1.0}])
def test_filters_of_pairs_are_refused(ws: Workspace, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="compares two responses, and these are single responses"):
        put(ws, "mine", ROWS, filters=Filters(**options))


def test_it_is_inspected(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    put(ws, "mine", [*ROWS, ROWS[0]])
    found = inspect_dataset(ws, "mine", InspectOptions())
    assert (found.figures.kind, found.figures.rows, found.figures.duplicates.exact) == ("responses", 41, 1)
    assert found.figures.length_bias is None and found.figures.desirable is None
    assert list(found.figures.lengths) == ["prompt", "response"]
    show(found)
    assert "single responses" in capsys.readouterr().out


@pytest.mark.parametrize(("wanted", "command"), [("pairs", "--method sft"), ("labels", "")])
def test_other_methods_refuse_it(ws: Workspace, wanted: Any, command: str) -> None:
    put(ws, "mine", ROWS)
    with pytest.raises(DataError) as error:
        check_registered(ws, ["mine"], wanted)
    assert command in error.value.fix
    assert check_registered(ws, ["mine"], "prompts")[0].rows == len(ROWS), "PPO reads prompts only"


def test_replacing_pairs_removes_their_views(ws: Workspace) -> None:
    put(ws, "mine", [{"prompt": row["instruction"], "chosen": "a", "rejected": "b"} for row in ROWS])
    assert view_names(ws, ["mine"], "sft") == ["mine_sft"]
    put(ws, "mine", ROWS, force=True)
    assert "mine_sft" not in read_registry(ws)


def test_what_register_says_next(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    file = ws.root / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    register_all(ws, [file], IngestOptions())
    said = capsys.readouterr().err
    assert "for SFT: rlguide train --method sft" in said and "rlguide configure" not in said


def test_the_fix_of_a_doubtful_file_reads_it(ws: Workspace) -> None:
    rows = [row | {"checked_by": f"person {n}"} for n, row in enumerate(ROWS)]
    with pytest.raises(DataError) as error:
        choose_reading(rows, "file")
    assert "--format response" in error.value.fix
    assert choose_reading(rows, "file", Wanted("response")).good() == len(rows)
    assert choose_reading(rows, "file", Wanted(columns=(("checked_by", "ignored"),))).kind == "responses"
    named = [{"a": row["instruction"], "b": row["output"]} for row in ROWS]
    assert choose_reading(named, "file", Wanted(columns=(("a", "prompt"), ("b", "response")))).kind == "responses"


def test_it_is_renamed_and_removed_with_what_it_holds_out(ws: Workspace) -> None:
    put(ws, "mine", ROWS, test_size=0.25)
    before = [list(read_examples(ws, name)) for name in ("mine", "mine_test")]
    rename(ws, "mine", "yours")
    assert [list(read_examples(ws, name)) for name in ("yours", "yours_test")] == before
    manifest = read_manifest(ws, "yours")
    assert manifest is not None and manifest.kind == "responses"
    remove(ws, "yours")
    assert read_registry(ws) == {}
    assert not list(ws.data.glob("*.parquet"))
