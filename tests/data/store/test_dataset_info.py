from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.data.example import Example, Turn
from rlguide.data.formats.reading import choose_reading
from rlguide.data.names import safe_name
from rlguide.data.store.columns import to_batch
from rlguide.data.store.dataset_info import change_registry, our_entry, read_registry
from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import check_registered
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace

FOREIGN = {
    "alpaca_en_demo": {"file_name": "alpaca_en_demo.json"},
    "中文 数据,集": {
        "hf_hub_url": "a/b",
        "subset": "中",
        "num_samples": 10,
        "weight": 0.1,
        "nested": {"k": [None, True]},
    },
}
PAIRS = [
    Example.pair((Turn("human", "你好\n\u2028?"),), "好", "坏"),
    Example.pair((Turn("human", "a"), Turn("gpt", "b"), Turn("human", "c")), "good", "bad", "Be kind.", (2.5, -1.0)),
]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "my work 工作"
    (root / "data").mkdir(parents=True)
    return Workspace(root)


def put(workspace: Workspace, name: str, entry: dict[str, Any], content: bytes | None = None) -> None:
    change_registry(workspace, {name: entry})
    if content is not None:
        path = workspace.data / entry["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ours(workspace: Workspace, name: str = "mine") -> None:
    put(workspace, name, our_entry(f"{name}.parquet"))
    pq.write_table(pa.Table.from_batches([to_batch(PAIRS, "pairs")]), workspace.data / f"{name}.parquet")


def test_what_is_written_is_read_back(workspace: Workspace) -> None:
    ours(workspace)
    ours(workspace, "mine_test")
    assert list(read_examples(workspace, "mine")) == PAIRS
    assert list(islice(read_examples(workspace, "mine"), 1)) == PAIRS[:1]
    (dataset,) = check_registered(workspace, ["mine"])
    assert (dataset.rows, dataset.heldout, dataset.formatting, dataset.ranking) == (2, "mine_test", "alpaca", True)
    assert dataset.path == workspace.data / "mine.parquet"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(foreign=st.dictionaries(st.text(max_size=8), st.dictionaries(st.text(max_size=8), json_values), max_size=5))
def test_foreign_entries_keep_value_and_order(workspace: Workspace, foreign: dict[str, Any]) -> None:
    foreign.pop("mine", None)
    workspace.dataset_info.write_text(json.dumps(foreign), encoding="utf-8")
    change_registry(workspace, {"mine": our_entry("mine.parquet")})
    text = workspace.dataset_info.read_text(encoding="utf-8")
    assert json.dumps(json.loads(text)) == json.dumps(foreign | {"mine": our_entry("mine.parquet")})
    change_registry(workspace, {}, remove=("mine",))
    assert json.dumps(read_registry(workspace)) == json.dumps(foreign)


@pytest.mark.parametrize("broken", ["", "{", "[]", '{"a": 1}', '{"a": {}', "\xff"])
def test_a_broken_registry_is_refused_and_left_alone(workspace: Workspace, broken: str) -> None:
    workspace.dataset_info.write_bytes(broken.encode("latin-1"))
    with pytest.raises(DataError):
        change_registry(workspace, {"mine": our_entry("mine.parquet")})
    assert workspace.dataset_info.read_bytes() == broken.encode("latin-1")


def test_a_linked_registry_stays_linked(workspace: Workspace, tmp_path: Path) -> None:
    shared = tmp_path / "shared.json"
    shared.write_text("{}")
    workspace.dataset_info.symlink_to(shared)
    ours(workspace)
    assert workspace.dataset_info.is_symlink()
    assert "mine" in json.loads(shared.read_text())


REGISTER = """
import sys
from itertools import islice
from pathlib import Path
from rlguide.data.store.dataset_info import our_entry
from rlguide.data.store.dataset_info import change_registry
from rlguide.workspace import Workspace
workspace = Workspace(Path(sys.argv[1]))
number = 0
while number < int(sys.argv[3]):
    change_registry(workspace, {f"{sys.argv[2]}{number}": our_entry("x.parquet")})
    number += 1
"""


def start(workspace: Workspace, prefix: str, count: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", REGISTER, str(workspace.root), prefix, str(count)])


def test_processes_that_register_at_once_lose_nothing(workspace: Workspace) -> None:
    workspace.dataset_info.write_text(json.dumps(FOREIGN), encoding="utf-8")
    processes = [start(workspace, prefix, 40) for prefix in ("a", "b", "c")]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    entries = read_registry(workspace)
    assert set(entries) == {*FOREIGN, *(f"{prefix}{number}" for prefix in "abc" for number in range(40))}
    assert {name: entries[name] for name in FOREIGN} == FOREIGN


def test_a_registry_survives_a_kill_at_any_moment(workspace: Workspace) -> None:
    workspace.dataset_info.write_text(json.dumps(FOREIGN), encoding="utf-8")
    for attempt in range(12):
        process = start(workspace, f"k{attempt}_", 10**9)
        try:
            known = len(read_registry(workspace))
            while len(read_registry(workspace)) == known:  # until it writes; every read here is of whole JSON
                assert process.poll() is None
            time.sleep(attempt * 0.0007)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        entries = read_registry(workspace)
        assert {name: entries[name] for name in FOREIGN} == FOREIGN
    change_registry(workspace, {"after": our_entry("x.parquet")})  # no lock is left behind
    assert "after" in read_registry(workspace)


def test_unknown_name(workspace: Workspace) -> None:
    ours(workspace, "ultrafeedback")
    with pytest.raises(UsageError, match="did you mean ultrafeedback"):
        check_registered(workspace, ["ultrafedback"])


ALPACA = {"file_name": "a.json", "ranking": True, "columns": {"prompt": "q", "chosen": "good", "rejected": "bad"}}
ALPACA_ROWS = [{"q": "1+1?", "good": "2", "bad": "3"}, {"q": "2+2?", "good": "4", "bad": "5"}]
SHAREGPT = {
    "file_name": "in folder/s.jsonl",
    "ranking": True,
    "formatting": "sharegpt",
    "columns": {"messages": "msgs", "chosen": "chosen", "rejected": "rejected"},
    "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "customer", "assistant_tag": "agent"},
}
SHAREGPT_ROW = {
    "msgs": [{"role": "system", "content": "S"}, {"role": "customer", "content": "q"}],
    "chosen": {"role": "agent", "content": "a"},
    "rejected": {"role": "agent", "content": "b"},
}


def test_entries_of_others_are_read_by_their_columns_and_tags(workspace: Workspace) -> None:
    put(workspace, "alpaca", ALPACA, json.dumps(ALPACA_ROWS).encode())
    put(workspace, "chat", SHAREGPT, json.dumps(SHAREGPT_ROW).encode() + b"\n")
    alpaca, chat = check_registered(workspace, ["alpaca", "chat"])
    assert (alpaca.rows, alpaca.formatting, alpaca.columns) == (2, "alpaca", ALPACA["columns"])
    assert (chat.rows, chat.formatting, chat.heldout) == (1, "sharegpt", None)
    assert list(read_examples(workspace, "alpaca"))[1] == Example.pair((Turn("human", "2+2?"),), "4", "5")
    assert list(read_examples(workspace, "chat")) == [Example.pair((Turn("human", "q"),), "a", "b", "S")]


def test_parquet_csv_folders_and_hub_entries(workspace: Workspace) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    put(workspace, "table", ALPACA | {"file_name": "t.parquet"})
    pq.write_table(pa.Table.from_pylist(ALPACA_ROWS * 5), workspace.data / "t.parquet")
    put(workspace, "sheet", ALPACA | {"file_name": "t.csv"}, "q,good,bad\n你,a,b\n".encode())
    put(workspace, "folder", ALPACA | {"file_name": "parts"})
    (workspace.data / "parts").mkdir()
    for part in "ab":
        (workspace.data / "parts" / f"{part}.json").write_text(json.dumps(ALPACA_ROWS))
    put(workspace, "hub", {"hf_hub_url": "a/b", "ranking": True, "columns": {"chosen": "chosen", "rejected": "no"}})
    found = check_registered(workspace, ["table", "sheet", "folder", "hub"])
    assert [dataset.rows for dataset in found] == [10, 1, 4, None]
    assert found[3].path is None
    assert len(list(read_examples(workspace, "folder"))) == 4
    with pytest.raises(DataError, match="fetched by the engine"):
        list(read_examples(workspace, "hub"))


@pytest.mark.parametrize(
    ("change", "content", "message"),
    [
        ({"ranking": False}, None, "not a preference dataset"),
        ({"ranking": "true"}, None, "not a preference dataset"),
        ({"formatting": "chatml"}, None, "unknown formatting"),
        ({"columns": {"prompt": "q", "chosen": "good"}}, None, "names no column for rejected"),
        ({"columns": {"chosen": "good", "rejected": "bad"}}, None, "names no column for prompt"),
        ({"columns": {"prompt": "q", "chosen": "god", "rejected": "bad"}}, None, r"no column god \(its chosen\)"),
        ({"file_name": "gone.json"}, None, "is missing"),
        ({"file_name": ""}, None, "names no file"),
        ({}, b"", "is empty"),
        ({}, b"[]", "has no rows"),
        ({}, b'["text"]', "is not an object"),
        ({}, b'[{"q": "1', "not a complete JSON list"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    workspace: Workspace, change: dict[str, Any], content: bytes | None, message: str
) -> None:
    put(workspace, "a", ALPACA, json.dumps(ALPACA_ROWS).encode() if content is None else content)
    check = read_registry(workspace)["a"] | change
    change_registry(workspace, {"a": check})
    with pytest.raises(DataError, match=message):
        check_registered(workspace, ["a"])


@given(st.text(max_size=200))
def test_a_safe_name_survives_commas_and_yaml(text: str) -> None:
    import yaml

    name = safe_name(text)
    assert safe_name(name) == name
    assert [part.strip() for part in f"other,{name}".split(",")] == ["other", name]
    assert yaml.safe_load(f"dataset: {name}") == {"dataset": name}
    assert len(f".{name}_test.manifest.json.12345678.tmp".encode()) <= 255
    assert "/" not in name


def test_names_people_use_stay() -> None:
    for name in ("my_pairs", "客服数据", "v1.2-final", "Ab"):
        assert safe_name(name) == name
    assert safe_name("my pairs, v2") == "my_pairs_v2"
    assert safe_name("2024") == "data_2024"
    assert safe_name("on") == "data_on"


def test_our_entries_are_of_a_format_that_we_read() -> None:
    for row, pair in zip(to_batch(PAIRS, "pairs").to_pylist(), PAIRS, strict=True):
        assert choose_reading([row], "file").to_examples(row) == [pair]
