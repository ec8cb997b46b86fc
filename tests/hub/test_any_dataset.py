"""Datasets that are in no catalog: by id, split, subset and file, from Hugging Face and from ModelScope."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hub.hub_server import HubServer, jsonl, orca_row, parquet, ultrafeedback_row
from tests.hub.modelscope_server import ModelScopeServer

pytestmark = pytest.mark.hub
Rlguide = Callable[..., subprocess.CompletedProcess[str]]

CARD = b"""---
configs:
- config_name: chat
  data_files:
  - split: train
    path: talk/a-*.jsonl
  - split: test
    path: talk/held.jsonl
- config_name: maths
  default: true
  data_files:
  - split: train
    path: ["sums/*.jsonl"]
---
# Pairs
"""


def pairs(first: int, count: int) -> bytes:
    return jsonl([orca_row(n) for n in range(first, first + count)])


CONFIGS = {
    "README.md": CARD,
    "load.py": b"raise SystemExit('the code of a dataset was run')",
    "talk/a-1.jsonl": pairs(0, 30),
    "talk/a-2.jsonl": pairs(30, 30),
    "talk/held.jsonl": pairs(1000, 5),
    "sums/x.jsonl": pairs(100, 40),
}
SHARDS = {
    f"data/train_prefs-{n:05d}-of-00003.parquet": parquet([ultrafeedback_row(i) for i in range(n * 20, n * 20 + 20)])
    for n in range(3)
} | {
    "data/test_prefs-00000-of-00001.parquet": parquet([ultrafeedback_row(i, test=True) for i in range(10)]),
    "data/train_sft-00000-of-00001.parquet": parquet([ultrafeedback_row(i) for i in range(5)]),
}


@pytest.fixture(scope="module")
def servers(hub: HubServer) -> Iterator[dict[str, Any]]:
    modelscope = ModelScopeServer()
    for name, files in {
        "lab/configs": CONFIGS,
        "lab/Shards.v1": SHARDS,
        "lab/none": {"load.py": b"1"},
        "lab/odd": {"\x1b[31m\x1b]0;owned\x07red.jsonl": pairs(0, 10)},
    }.items():
        hub.publish(name, files)
        modelscope.datasets[name] = files
    yield {"hf": hub, "modelscope": modelscope}
    modelscope.close()


@pytest.fixture(params=["hf", "modelscope"])
def on(
    request: pytest.FixtureRequest, servers: dict[str, Any], environment: dict[str, str], tmp_path: Path
) -> tuple[str, ...]:
    environment.update({"MODELSCOPE_ENDPOINT": servers["modelscope"].url, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    return ("--hub", request.param)


def manifest(workspace: Path, name: str) -> dict[str, Any]:
    loaded = json.loads((workspace / "data" / f"{name}.manifest.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def files_and_rows(workspace: Path, name: str) -> tuple[list[str], list[int]]:
    found = manifest(workspace, name)
    return [file["path"] for file in found["source"]["files"]], [file["rows"] for file in found["files"]]


def test_shards_of_the_split_for_preferences(rlguide: Rlguide, workspace: Path, on: tuple[str, ...]) -> None:
    done = rlguide("download", "lab/Shards.v1", *on)
    assert done.returncode == 0, done.stderr
    assert "split train_prefs, held out: test_prefs" in done.stderr
    assert "--dataset Shards.v1" in done.stderr
    files, rows = files_and_rows(workspace, "Shards.v1")
    shards = [f"data/train_prefs-{n:05d}-of-00003.parquet" for n in range(3)]
    assert (files, rows) == (["data/test_prefs-00000-of-00001.parquet", *shards], [60, 10])
    again = rlguide("download", "lab/Shards.v1", *on)
    assert "already there" in again.stderr
    other = rlguide("download", "lab/Shards.v1", "--split", "train_sft", "--heldout-split", "none", "--name", "乙", *on)
    assert other.returncode == 0, other.stderr
    assert files_and_rows(workspace, "乙")[0] == ["data/train_sft-00000-of-00001.parquet"]
    registered = json.loads((workspace / "data" / "dataset_info.json").read_text(encoding="utf-8"))
    assert {"Shards.v1", "Shards.v1_test", "乙"} <= set(registered)


def test_subsets_of_the_card(rlguide: Rlguide, workspace: Path, on: tuple[str, ...]) -> None:
    assert rlguide("download", "lab/configs", "--test-size", "0", *on).returncode == 0
    assert files_and_rows(workspace, "configs") == (["sums/x.jsonl"], [40])
    done = rlguide("download", "lab/configs", "--config", "chat", "--name", "chat", *on)
    assert done.returncode == 0, done.stderr
    assert files_and_rows(workspace, "chat") == (["talk/held.jsonl", "talk/a-1.jsonl", "talk/a-2.jsonl"], [60, 5])
    named = rlguide("download", "lab/configs", "--file", "talk/a-*.jsonl", "--file", "sums/**", "--name", "all", *on)
    assert named.returncode == 0, named.stderr
    files, rows = files_and_rows(workspace, "all")
    assert files == ["talk/a-1.jsonl", "talk/a-2.jsonl", "sums/x.jsonl"] and sum(rows) == 100


def test_what_is_not_there_is_answered_by_what_is(rlguide: Rlguide, workspace: Path, on: tuple[str, ...]) -> None:
    """The other answers of this kind are in tests/preferences/test_splits.py."""
    for arguments, what, fix in (
        (["lab/configs", "--subset", "caht"], "no subset caht (did you mean chat?)", "chat, maths"),
        (["lab/none"], "no data file that rlguide reads: load.py", "never runs code"),
        (["lab/nowhere"], "has no dataset lab/nowhere", "check the id"),
    ):
        failed = rlguide("download", *arguments, *on)
        assert failed.returncode in (1, 2)
        said = failed.stderr.splitlines()
        assert what in said[-2] and fix in said[-1], failed.stderr
        assert "Traceback" not in failed.stderr
    assert not (workspace / "data" / "dataset_info.json").exists()


def test_a_name_that_acts_on_the_screen_is_refused(rlguide: Rlguide, workspace: Path, on: tuple[str, ...]) -> None:
    failed = rlguide("download", "lab/odd", *on)
    assert failed.returncode == 1
    assert "\x1b" not in failed.stderr and "\x07" not in failed.stderr
    error, fix = failed.stderr.splitlines()[-2:]
    assert error.endswith("control characters: '\\x1b[31m\\x1b]0;owned\\x07red.jsonl'") and "--revision" in fix


def test_names_that_no_file_can_have(
    rlguide: Rlguide, workspace: Path, servers: dict[str, Any], environment: dict[str, str], tmp_path: Path
) -> None:
    server = servers["modelscope"]
    environment.update({"MODELSCOPE_ENDPOINT": server.url, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    for path, why in (
        ("a\0b.jsonl", "control characters: 'a\\x00b.jsonl'"),
        ("x" * 300 + ".jsonl", "with a name of 306 bytes"),
        ("a/../../x.jsonl", "outside its repository"),
    ):
        server.datasets["lab/no"] = {path: pairs(0, 10)}
        failed = rlguide("download", "lab/no", "--hub", "modelscope")
        assert failed.returncode == 1
        error, fix = failed.stderr.splitlines()[-2:]
        assert why in error and "its owner" in fix, failed.stderr
    # The longest name that there can be, beside which the cache has a lock and a part.
    server.datasets["lab/no"] = {"字" * 83 + ".jsonl": pairs(0, 10)}
    done = rlguide("download", "lab/no", "--hub", "modelscope")
    assert done.returncode == 0, done.stderr


def test_a_dataset_of_the_catalog_from_modelscope(
    rlguide: Rlguide, workspace: Path, servers: dict[str, Any], environment: dict[str, str], tmp_path: Path
) -> None:
    server = servers["modelscope"]
    row = {"instruction": "Add 1 and 1.", "input": "", "chosen": "2", "rejected": "3"}
    rows = [row | {"instruction": f"Add {n} and 1."} for n in range(50)]
    server.datasets["llamafactory/ultrafeedback_binarized"] = {"train.json": json.dumps(rows).encode()}
    environment.update({"MODELSCOPE_DOMAIN": server.url, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    done = rlguide("download", "ultrafeedback", "--test-size", "0", RLGUIDE_HUB="modelscope")
    assert done.returncode == 0, done.stderr
    assert files_and_rows(workspace, "ultrafeedback") == (["train.json"], [50])
    assert manifest(workspace, "ultrafeedback")["source"]["hub"] == "modelscope"
    unknown = rlguide("download", "orca_dpo", "--hub", "modelscope")
    assert unknown.returncode == 2
    assert "--hub modelscope --name orca_dpo" in unknown.stderr


def test_a_tree_of_many_pages(
    rlguide: Rlguide, workspace: Path, servers: dict[str, Any], environment: dict[str, str], tmp_path: Path
) -> None:
    server = servers["modelscope"]
    server.datasets["lab/many"] = {f"notes/{n}.txt": b"x" for n in range(400)} | {"train.jsonl": pairs(0, 10)}
    environment.update({"MODELSCOPE_ENDPOINT": server.url, "XDG_CACHE_HOME": str(tmp_path / "cache")})
    before = server.pages
    done = rlguide("download", "lab/many", "--hub", "modelscope")
    assert done.returncode == 0, done.stderr
    assert server.pages - before == 3


def has_client(python: Path) -> bool:
    return (
        python.exists() and not subprocess.run([python, "-c", "import modelscope_hub"], capture_output=True).returncode
    )


def test_its_own_client_understands_the_test_server(servers: dict[str, Any], tmp_path: Path) -> None:
    """What ModelScope's own client downloads from the server is what is in it: so the server speaks that API."""
    pythons = [Path(sys.executable), Path(os.environ.get("RLGUIDE_ENGINE", "nowhere")) / "bin" / "python"]
    code = (
        "import sys; from modelscope_hub import HubApi\n"
        "api = HubApi(endpoint=sys.argv[1], token='t')\n"
        "print(api.download_repo('lab/configs', 'dataset', local_dir=sys.argv[2]))"
    )
    environment = os.environ | {"MODELSCOPE_CACHE": str(tmp_path / "c"), "HOME": str(tmp_path)}
    python = next((one for one in pythons if has_client(one)), None)
    if python is None:
        pytest.skip("no modelscope_hub, which LLaMA-Factory brings, here or in RLGUIDE_ENGINE")
    done = subprocess.run(
        [python, "-c", code, servers["modelscope"].url, str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    for path, content in CONFIGS.items():
        assert (tmp_path / "out" / path).read_bytes() == content


def test_labels_and_scored_lists_and_their_list(hub: HubServer, rlguide: Rlguide, workspace: Path) -> None:
    labels = [{"prompt": f"Is {n} even?", "completion": f"It is {n}.", "label": n % 2 == 0} for n in range(60)]
    hub.publish("lab/labels", {"train.jsonl": jsonl(labels)})
    done = rlguide("download", "lab/labels", "--lang", "en")
    assert done.returncode == 0, done.stderr
    assert "rlguide train --method kto --dataset labels" in done.stderr
    listed = {line["name"]: line for line in json.loads(rlguide("list", "--json").stdout)}
    assert (listed["labels"]["hub_id"], listed["labels"]["kind"]) == ("lab/labels", "labels")
    # A person's own file may bear the name of a dataset of the catalog; it is no download.
    (workspace / "mine.jsonl").write_bytes(pairs(0, 20))
    assert rlguide("register", "mine.jsonl", "--name", "orca_dpo").returncode == 0
    listed = {line["name"]: line for line in json.loads(rlguide("list", "--json").stdout) if line["hub_id"] is None}
    assert listed["orca_dpo"]["purpose"] == "your own"


def test_prompts_of_ifeval_are_fetched_once(
    hub: HubServer, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    prompt = "Write a riddle about a summer day of at least four hundred words and do not use any commas at all."
    hub.publish("google/IFEval", {"ifeval_input_data.jsonl": jsonl([{"key": 1, "prompt": prompt}])})
    rows = [{"prompt": f"Say {n}." if n else f"Please: {prompt}", "chosen": "a", "rejected": "b"} for n in range(20)]
    (workspace / "mine.jsonl").write_bytes(jsonl(rows))
    assert rlguide("register", "mine.jsonl", "--test-size", "0").returncode == 0
    assert json.loads(rlguide("inspect", "mine", "--json").stdout)["ifeval"] is None
    assert json.loads(rlguide("inspect", "mine", "--json", "--ifeval", "hub").stdout)["ifeval"]["hits"] == 1
    offline = rlguide("inspect", "mine", "--json", HF_HUB_OFFLINE="1")
    assert json.loads(offline.stdout)["ifeval"]["hits"] == 1, "from the cache from now on"
