"""Datasets of labelled answers: checked, counted, weighted; and the views that are made of pairs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.ingest.views import kto_view, view, view_names, viewed
from rlguide.data.inspect.listing import list_datasets
from rlguide.data.store.dataset_info import change_registry, dataset_kind, read_registry
from rlguide.data.store.journal import settle
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import check_registered, label_counts
from rlguide.errors import DataError, UsageError
from rlguide.recipes.inputs import kto_weights
from rlguide.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "my work 工作"
    (root / "data").mkdir(parents=True)
    return Workspace(root)


def put(workspace: Workspace, name: str, entry: dict[str, Any], content: str = "") -> None:
    change_registry(workspace, {name: entry})
    if content:
        (workspace.data / entry["file_name"]).write_text(content, encoding="utf-8")


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def import_rows(workspace: Workspace, name: str, rows: list[dict[str, Any]], **options: Any) -> None:
    source = workspace.root / "source.jsonl"
    source.write_text(lines(rows), encoding="utf-8")
    force = options.pop("force", False)
    register_path(workspace, source, IngestOptions(name, **options, force=force))


def read(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    file = workspace.data / read_registry(workspace)[name]["file_name"]
    return list(pq.read_table(file).to_pylist())


def pair_rows(count: int, prompts: int = 0) -> list[dict[str, Any]]:
    return [
        {"prompt": f"问 {n % (prompts or count)}?", "chosen": f"好 {n}", "rejected": f"坏 {n}"} for n in range(count)
    ]


def label_rows(good: int, bad: int) -> list[dict[str, Any]]:
    """Two answers to each prompt, one after the other."""
    return [{"prompt": f"问 {n // 2}?", "completion": f"答 {n}", "label": int(n < good)} for n in range(good + bad)]


def prompt(row: dict[str, Any]) -> str:
    return json.dumps([row["system"], row["history"], row["prompt"]])


def content(rows: list[dict[str, Any]]) -> Counter[tuple[str, str, bool]]:
    return Counter((prompt(row), row["answer"], row["label"]) for row in rows)


def test_labels_are_registered_counted_and_held_out_by_prompt(workspace: Workspace) -> None:
    import_rows(workspace, "拇指", label_rows(70, 30), test_size=0.2)
    train, heldout = read(workspace, "拇指"), read(workspace, "拇指_test")
    assert {type(row["label"]) for row in train + heldout} == {bool}
    answers = {row["answer"]: row["label"] for row in train + heldout}
    assert answers == {f"答 {n}": n < 70 for n in range(100)}
    assert not {*map(prompt, train)} & {*map(prompt, heldout)}
    assert all(prompt(a) != prompt(b) for a, b in pairwise(train))
    good = sum(row["label"] for row in train)
    assert label_counts(workspace, ["拇指"]) == (good, len(train) - good)
    assert label_counts(workspace, ["拇指", "拇指_test"]) == (70, 30)
    (dataset,) = check_registered(workspace, ["拇指"], "labels")
    assert (dataset.rows, dataset.ranking, dataset.heldout) == (len(train), False, "拇指_test")
    assert dataset_kind(workspace, "拇指") == "labels"
    assert [(line.name, line.kind) for line in list_datasets(workspace) if line.hub_id is None] == [("拇指", "labels")]


def test_an_edited_file_is_counted_again(workspace: Workspace) -> None:
    import_rows(workspace, "mine", label_rows(7, 3), test_size=0)
    path = workspace.data / "mine.parquet"
    pq.write_table(pq.read_table(path).slice(0, 4), path)
    good = sum(row["label"] for row in read(workspace, "mine"))
    assert label_counts(workspace, ["mine"]) == (good, 4 - good)


def test_the_wrong_kind_is_sent_to_the_right_method(workspace: Workspace) -> None:
    import_rows(workspace, "labels", label_rows(5, 5))
    import_rows(workspace, "pairs", pair_rows(10))
    put(workspace, "sft", {"file_name": "sft.json"})
    with pytest.raises(DataError) as refused:
        check_registered(workspace, ["pairs", "labels"])
    assert "labelled single responses" in str(refused.value.what)
    assert "rlguide train --method kto --dataset labels" in refused.value.fix
    with pytest.raises(DataError, match="holds pairs"):
        check_registered(workspace, ["pairs"], "labels")
    with pytest.raises(DataError, match="has no labels"):
        check_registered(workspace, ["sft"], "labels")
    with pytest.raises(UsageError, match="did you mean labels"):
        check_registered(workspace, ["label"], "labels")
    with pytest.raises(UsageError):
        dataset_kind(workspace, "label")
    assert [dataset_kind(workspace, name) for name in ("labels", "pairs", "sft")] == ["labels", "pairs", "other"]


KTO_ALPACA = {"file_name": "a.jsonl", "columns": {"prompt": "q", "response": "a", "kto_tag": "ok"}}


@pytest.mark.parametrize(
    ("columns", "rows", "message"),
    [
        ({"prompt": "q", "kto_tag": "ok"}, [{"q": "1", "a": "2", "ok": True}], "names no column for response"),
        ({"prompt": "q", "response": "a", "kto_tag": "no"}, [{"q": "1", "a": "2", "ok": True}], "no column no"),
        (KTO_ALPACA["columns"], [{"q": "1", "a": "2", "ok": 1}], "true and false only"),
        (KTO_ALPACA["columns"], [{"q": "1", "a": "2", "ok": "true"}], "true and false only"),
        (KTO_ALPACA["columns"], [{"q": "1", "a": "2", "ok": True}, {"q": "1", "a": "2"}], "the label None at line 2"),
    ],
)
def test_labels_that_the_engine_would_drop_are_refused(
    workspace: Workspace, columns: Any, rows: list[dict[str, Any]], message: str
) -> None:
    put(workspace, "a", {"file_name": "a.jsonl", "columns": columns}, lines(rows))
    with pytest.raises(DataError, match=message):
        check_registered(workspace, ["a"], "labels")


def test_entries_of_others_are_counted_by_their_column(workspace: Workspace) -> None:
    put(workspace, "a", KTO_ALPACA, lines([{"q": "1", "a": "2", "ok": n < 3} for n in range(5)]))
    put(workspace, "sheet", KTO_ALPACA | {"file_name": "t.csv"}, "q,a,ok\n你,a,True\n你,b,FALSE\n你,c,False\n")
    put(workspace, "hub", {"hf_hub_url": "a/b", "columns": {"kto_tag": "ok", "prompt": "q", "response": "a"}})
    assert label_counts(workspace, ["a"]) == (3, 2)
    assert label_counts(workspace, ["sheet", "a"]) == (4, 4)
    assert check_registered(workspace, ["hub"], "labels")[0].path is None
    with pytest.raises(DataError, match="fetched by the engine"):
        label_counts(workspace, ["a", "hub"])


@given(desirable=st.integers(1, 10**7), undesirable=st.integers(1, 10**7))
def test_weights_bring_the_ratio_into_the_interval_of_the_paper(desirable: int, undesirable: int) -> None:
    good, bad = kto_weights(desirable, undesirable)
    ratio = good * desirable / (bad * undesirable)
    assert 1 - 1e-9 <= ratio <= 4 / 3 + 1e-9
    assert min(good, bad) == 1.0, "only one weight is raised"
    if 1 <= desirable / undesirable <= 4 / 3:
        assert (good, bad) == (1.0, 1.0)
    elif desirable < undesirable:
        assert good > 1 and ratio < 1 + 1e-3, "no further than needed"
    else:
        assert bad > 1 and ratio > 4 / 3 - 1e-3


def test_weights_by_hand() -> None:
    assert kto_weights(100, 100) == (1.0, 1.0)
    assert kto_weights(100, 1000) == (10.0, 1.0)
    assert kto_weights(1000, 100) == (1.0, 7.5)
    for counts in ((0, 5), (5, 0)):
        with pytest.raises(DataError, match="both kinds"):
            kto_weights(*counts)


def expected(workspace: Workspace, name: str) -> Counter[tuple[str, str, bool]]:
    found: Counter[tuple[str, str, bool]] = Counter()
    for pair in read_examples(workspace, name):
        turns = [turn.value for turn in pair.messages]
        prompt_key = json.dumps([pair.system, [turns[at : at + 2] for at in range(0, len(turns) - 1, 2)], turns[-1]])
        found.update([(prompt_key, pair.chosen, True), (prompt_key, pair.rejected, False)])
    return found


def test_a_view_holds_each_pair_twice_and_no_prompt_beside_itself(workspace: Workspace) -> None:
    import_rows(workspace, "问答", pair_rows(120, prompts=40), test_size=0.2)
    assert kto_view(workspace, "问答") == "问答_kto"
    for shown, name in (("问答_kto", "问答"), ("问答_kto_test", "问答_test")):
        rows = read(workspace, shown)
        assert content(rows) == expected(workspace, name)
        neighbours = zip(rows, [rows[-1], *rows[:-1]], strict=True)
        assert all(prompt(row) != prompt(other) for row, other in neighbours)
    (dataset,) = check_registered(workspace, ["问答_kto"], "labels")
    pairs = check_registered(workspace, ["问答"])[0].rows
    assert pairs is not None
    assert (dataset.rows, dataset.heldout) == (2 * pairs, "问答_kto_test")
    assert label_counts(workspace, ["问答_kto"]) == (pairs, pairs)
    manifest = read_manifest(workspace, "问答_kto")
    assert manifest is not None and manifest.source["derived_from"] == "问答"
    assert [line.name for line in list_datasets(workspace) if line.hub_id is None] == ["问答"]


def test_a_view_is_made_again_only_when_its_source_changed(workspace: Workspace) -> None:
    import_rows(workspace, "a", pair_rows(30))
    kto_view(workspace, "a")
    path = workspace.data / "a_kto.parquet"
    first, status = path.read_bytes(), path.stat()
    kto_view(workspace, "a")
    assert path.stat().st_ino == status.st_ino, "nothing was written"
    os.utime(workspace.data / "a.parquet", ns=(1, 1))
    kto_view(workspace, "a")
    assert path.stat().st_ino != status.st_ino
    assert path.read_bytes() == first, "the same pairs give the same file"
    import_rows(workspace, "a", pair_rows(44), force=True, test_size=0)
    kto_view(workspace, "a")
    assert len(read(workspace, "a_kto")) == 88
    assert "a_kto_test" not in read_registry(workspace)
    assert not (workspace.data / "a_kto_test.parquet").exists()
    path.write_bytes(path.read_bytes()[:100])  # damaged by hand
    kto_view(workspace, "a")
    assert len(read(workspace, "a_kto")) == 88
    change_registry(workspace, {}, remove=("a_kto",))
    kto_view(workspace, "a")
    assert dataset_kind(workspace, "a_kto") == "labels"


def test_what_a_killed_making_of_a_view_left_is_cleared_away(workspace: Workspace) -> None:
    import_rows(workspace, "a", pair_rows(30))
    for left in (".a_kto~train.tmp", ".a_kto~test-rows.tmp", ".a_kto.manifest.json.abcd1234.tmp", ".a.keep~x"):
        (workspace.data / left).write_text("half")
    settle(workspace)
    assert [path.name for path in workspace.data.glob(".*")] == [".a.keep~x"]
    kto_view(workspace, "a")
    assert content(read(workspace, "a_kto")) == expected(workspace, "a")


def test_sft_and_ppo_read_the_stored_file(workspace: Workspace) -> None:
    import_rows(workspace, "a", pair_rows(30))
    before = sorted(workspace.data.glob("*.parquet"))
    for use in ("sft", "ppo"):
        assert view(workspace, "a", use) == f"a_{use}"  # type: ignore[arg-type]
        entries = read_registry(workspace)
        for end in ("", "_test"):
            entry = entries[f"a_{use}{end}"]
            assert (entry["file_name"], entry["ranking"]) == (f"a{end}.parquet", False)
            assert entry["columns"]["response"] == "chosen"
        assert check_registered(workspace, [f"a_{use}"], "prompts")[0].rows == 28
        assert viewed(workspace, f"a_{use}_test") == "a_test"
    assert sorted(workspace.data.glob("*.parquet")) == before
    assert [line.name for line in list_datasets(workspace) if line.hub_id is None] == ["a"]
    import_rows(workspace, "a", pair_rows(30), force=True, test_size=0)
    assert "a_sft" in read_registry(workspace) and "a_sft_test" not in read_registry(workspace)
    import_rows(workspace, "a", label_rows(10, 10), force=True, test_size=0)
    assert set(read_registry(workspace)) == {"a"}, "labelled answers have no such views"


def test_sft_on_the_pairs_of_others(workspace: Workspace) -> None:
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    rows = [{"q": f"{n}?", "good": "yes", "bad": "no"} for n in range(9)]
    put(workspace, "foreign", {"file_name": "f.json", "ranking": True, "columns": columns}, json.dumps(rows))
    view(workspace, "foreign", "sft")
    assert read_registry(workspace)["foreign_sft"] == {
        "file_name": "f.json",
        "ranking": False,
        "columns": {"prompt": "q", "response": "good"},
    }
    put(
        workspace,
        "shared",
        {
            "file_name": "s.json",
            "ranking": True,
            "formatting": "sharegpt",
            "columns": {"messages": "m", "chosen": "chosen", "rejected": "rejected"},
        },
        json.dumps(
            [
                {
                    "m": [{"from": "human", "value": "q"}],
                    "chosen": {"from": "gpt", "value": "a"},
                    "rejected": {"from": "gpt", "value": "b"},
                }
            ]
        ),
    )
    with pytest.raises(DataError, match="as messages"):
        view(workspace, "shared", "sft")
    put(workspace, "foreign_ppo", {"file_name": "mine.json"})
    with pytest.raises(UsageError, match="foreign_ppo"):
        view(workspace, "foreign", "ppo")


VIEW = """
import sys
from pathlib import Path
from rlguide.data.ingest.views import kto_view
from rlguide.workspace import Workspace
print(kto_view(Workspace(Path(sys.argv[1])), "a"))
"""


def test_two_trainings_that_want_a_view_at_once(workspace: Workspace) -> None:
    import_rows(workspace, "a", pair_rows(3000))
    command = [sys.executable, "-c", VIEW, str(workspace.root)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    done = [process.communicate(timeout=60) for process in started]
    assert [out for out, _ in done] == ["a_kto\n"] * 3
    assert sum("making labelled responses" in error for _, error in done) == 1, "the others waited for it"
    assert content(read(workspace, "a_kto")) == expected(workspace, "a")


def test_a_view_of_an_entry_that_others_wrote(workspace: Workspace) -> None:
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    rows = [{"q": f"{n}?", "good": "yes", "bad": "no"} for n in range(9)] + [{"q": "", "good": "x", "bad": "y"}]
    put(workspace, "foreign", {"file_name": "f.json", "ranking": True, "columns": columns}, json.dumps(rows))
    assert view_names(workspace, ["foreign"], "kto") == ["foreign_kto"]
    assert content(read(workspace, "foreign_kto")) == expected(workspace, "foreign")
    assert label_counts(workspace, ["foreign_kto"]) == (9, 9)
    entry = read_registry(workspace)["foreign"]
    swapped = {"prompt": "q", "chosen": "bad", "rejected": "good"}
    change_registry(workspace, {"foreign": entry | {"columns": swapped}})  # the file is the same, its meaning is not
    kto_view(workspace, "foreign")
    assert {(row["answer"], row["label"]) for row in read(workspace, "foreign_kto")} == {
        ("no", True),
        ("yes", False),
    }


def test_a_view_replaces_nothing_that_is_not_one(workspace: Workspace) -> None:
    import_rows(workspace, "a", pair_rows(10))
    import_rows(workspace, "a_kto", label_rows(5, 5))
    before = (workspace.data / "a_kto.parquet").read_bytes()
    with pytest.raises(UsageError, match="a_kto"):
        kto_view(workspace, "a")
    assert (workspace.data / "a_kto.parquet").read_bytes() == before
    assert view_names(workspace, ["a_kto"], "kto") == ["a_kto"]
    with pytest.raises(DataError, match="labelled single responses"):
        kto_view(workspace, "a_kto")
    change_registry(workspace, {"hub": {"hf_hub_url": "a/b", "ranking": True}})
    with pytest.raises(DataError, match="fetched by the engine"):
        kto_view(workspace, "hub")
