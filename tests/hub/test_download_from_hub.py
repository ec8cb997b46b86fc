"""`rlguide download` against a real hub: the executable, the real client, true repository layouts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.hub.hub_server import (
    HubServer,
    RangeGateway,
    array,
    free_port,
    jsonl,
    orca_row,
    parquet,
    rlguide_command,
    sharegpt_row,
    ultrafeedback_row,
)

pytestmark = pytest.mark.hub
Rlguide = Callable[..., subprocess.CompletedProcess[str]]
FOREIGN = {"old 老数据": {"file_name": "老.json", "columns": {"prompt": "q"}}, "z": {"hf_hub_url": "a/b", "num": 1.5}}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def read_rows(path: Path) -> list[Any]:
    return list(pq.read_table(path).to_pylist())


def prompts(path: Path) -> set[str]:
    return {json.dumps([row["history"], row["prompt"]]) for row in read_rows(path)}


def fetched(environment: dict[str, str]) -> set[str]:
    """Names of the data files in the client's cache."""
    cache = Path(environment["HF_HOME"]) / "hub"
    return {path.relative_to(path.parents[0]).name for path in cache.glob("*/snapshots/*/**/*") if path.is_file()}


def test_all_four_are_fetched_checked_split_and_registered(
    hub: HubServer, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    (workspace / "data").mkdir()
    (workspace / "data" / "dataset_info.json").write_text(json.dumps(FOREIGN, ensure_ascii=False), encoding="utf-8")
    done = rlguide("download", "ultrafeedback", "orca_dpo", "dpo_en_zh", "coig_p")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert fetched(environment) == {
        "train_prefs-00000-of-00001.parquet",
        "test_prefs-00000-of-00001.parquet",
        "orca_rlhf.jsonl",
        "dpo_en.json",
        "dpo_zh.json",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    }
    data = workspace / "data"
    info = read_json(data / "dataset_info.json")
    assert list(info)[:2] == list(FOREIGN)
    assert {name: info[name] for name in FOREIGN} == FOREIGN
    expected = {"ultrafeedback": (300, 40), "orca_dpo": (380, 20), "dpo_en_zh": (380, 20), "coig_p": (3800, 200)}
    for name, (rows, heldout) in expected.items():
        manifest = read_json(data / f"{name}.manifest.json")
        assert manifest["source"]["commit"] == hub.commits[manifest["source"]["hub_id"]]
        assert [file["rows"] for file in manifest["files"]] == [rows, heldout]
        for file in manifest["files"]:
            content = (data / file["file"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
            assert len(read_rows(data / file["file"])) == file["rows"]
            assert info[file["dataset"]]["ranking"] is True
        for file in manifest["source"]["files"]:
            content = (hub.repository(manifest["source"]["hub_id"]) / file["path"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert not prompts(data / f"{name}.parquet") & prompts(data / f"{name}_test.parquet")
    # What is written is what was published, row by row.
    first = ultrafeedback_row(0)
    assert read_rows(data / "ultrafeedback.parquet")[0] == {
        "system": "",
        "history": [],
        "prompt": first["prompt"],
        "chosen": first["chosen"][1]["content"],
        "rejected": first["rejected"][1]["content"],
        "chosen_score": 8.5,
        "rejected_score": 4.0,
    }
    both = read_rows(data / "orca_dpo.parquet") + read_rows(data / "orca_dpo_test.parquet")
    written = {(row["system"], row["prompt"], row["chosen"]) for row in both}
    assert written == {(row["system"], row["question"], row["chosen"]) for row in map(orca_row, range(400))}
    both = read_rows(data / "dpo_en_zh.parquet") + read_rows(data / "dpo_en_zh_test.parquet")
    published = [sharegpt_row(n, language) for language in ("en", "zh") for n in range(200)]
    assert sorted(
        [*(text for exchange in row["history"] for text in exchange), row["prompt"], row["chosen"], row["rejected"]]
        for row in both
    ) == sorted(
        [*(turn["value"] for turn in row["conversations"]), row["chosen"]["value"], row["rejected"]["value"]]
        for row in published
    )
    listed = json.loads(rlguide("list", "--json").stdout)
    assert {line["name"]: line["downloaded"] for line in listed} == dict.fromkeys(expected, True)
    assert [path.name for path in data.glob(".*.tmp")] == []


def test_a_second_run_does_nothing_and_other_options_do_something(rlguide: Rlguide, workspace: Path) -> None:
    assert rlguide("download", "dpo_en_zh", "--lang", "zh").returncode == 0
    data = workspace / "data"
    before = {path.name: path.stat().st_mtime_ns for path in data.glob("*.json*")}
    again = rlguide("download", "dpo-en-zh", "--lang", "zh")
    assert again.returncode == 0
    assert "already there" in again.stderr
    assert {path.name: path.stat().st_mtime_ns for path in data.glob("*.json*")} == before
    rows = read_rows(data / "dpo_en_zh.parquet")
    assert all("请问" in row["prompt"] for row in rows)
    whole = rlguide("download", "dpo_en_zh", "--test-size", "0")
    assert whole.returncode == 0
    assert "dpo_en_zh: the 200 rows that are there will be replaced (other options or another commit)" in whole.stderr
    assert len(read_rows(data / "dpo_en_zh.parquet")) == 400
    assert not (data / "dpo_en_zh_test.parquet").exists()
    assert list(read_json(data / "dataset_info.json")) == ["dpo_en_zh"]


def test_max_samples_fetches_only_as_many_files_as_it_needs(
    rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    assert rlguide("download", "coig_p", "--max-samples", "100").returncode == 0
    assert fetched(environment) == {"train-00000-of-00002.parquet"}
    data = workspace / "data"
    rows = read_rows(data / "coig_p.parquet") + read_rows(data / "coig_p_test.parquet")
    assert len(rows) == 100
    numbers = sorted(int("".join(filter(str.isdigit, row["chosen"]))) for row in rows)
    assert numbers[-1] > 1500  # drawn from the whole file, not its head


def test_offline_after_a_download(rlguide: Rlguide, workspace: Path, tmp_path: Path) -> None:
    assert rlguide("download", "ultrafeedback", "orca_dpo").returncode == 0
    offline = rlguide("download", "ultrafeedback", HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert offline.returncode == 0
    assert "already there" in offline.stderr
    other = tmp_path / "other"
    other.mkdir()
    moved = rlguide("download", "orca_dpo", "-w", str(other), HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")
    assert moved.returncode == 0, moved.stderr
    assert (other / "data" / "orca_dpo.parquet").read_bytes() == (workspace / "data" / "orca_dpo.parquet").read_bytes()
    never = rlguide("download", "coig_p", HF_HUB_OFFLINE="1")
    assert never.returncode == 1
    assert "HF_HUB_OFFLINE" in never.stderr


def test_no_hub_is_two_lines_that_name_the_mirror_setting(rlguide: Rlguide, workspace: Path) -> None:
    failed = rlguide("download", "orca_dpo", HF_ENDPOINT=f"http://127.0.0.1:{free_port()}", HF_TOKEN="hf_secret")
    assert failed.returncode == 1
    error, fix = failed.stderr.splitlines()[-2:]
    assert error.startswith("error: cannot reach the hub at http://127.0.0.1:")
    assert "HF_ENDPOINT=https://hf-mirror.com" in fix
    assert "Traceback" not in failed.stderr
    assert "hf_secret" not in failed.stderr
    assert not (workspace / "data" / "dataset_info.json").exists()


def test_one_failure_does_not_stop_the_others(hub: HubServer, rlguide: Rlguide, workspace: Path) -> None:
    unknown = rlguide("download", "orca_dpo", "ultrafedback")
    assert unknown.returncode == 2
    assert "did you mean ultrafeedback?" in unknown.stderr
    assert not (workspace / "data").exists()
    (workspace / "data").mkdir()
    (workspace / "data" / "dataset_info.json").write_text('{"coig_p": {"hf_hub_url": "m-a-p/COIG-P"}}')
    partly = rlguide("download", "coig_p", "orca_dpo")
    assert partly.returncode == 1
    assert "1 of 2 failed: coig_p" in partly.stderr
    info = read_json(workspace / "data" / "dataset_info.json")
    assert info["coig_p"] == {"hf_hub_url": "m-a-p/COIG-P"}
    assert "orca_dpo" in info
    revision = rlguide("download", "dpo_en_zh", "--revision", "nosuch")
    assert revision.returncode == 1
    assert "--revision" in revision.stderr


@pytest.fixture
def own_hub(tmp_path: Path, environment: dict[str, str]) -> Any:
    """A hub of the test's own, empty, that may be broken."""
    server = HubServer(tmp_path / "own hub")
    server.start()
    environment["HF_ENDPOINT"] = server.url
    yield server
    server.stop()


def test_broken_files_register_nothing(own_hub: HubServer, rlguide: Rlguide, workspace: Path) -> None:
    (workspace / "data").mkdir()
    registry = workspace / "data" / "dataset_info.json"
    registry.write_text(json.dumps(FOREIGN, ensure_ascii=False, indent=1), encoding="utf-8")
    before = registry.read_bytes()
    rows = [sharegpt_row(n, "en") for n in range(50)]
    own_hub.publish("llamafactory/DPO-En-Zh-20k", {"dpo_en.json": array(rows), "dpo_zh.json": array(rows)[:-900]})
    own_hub.publish("Intel/orca_dpo_pairs", {"orca_rlhf.jsonl": jsonl([orca_row(n) for n in range(50)])[:-20]})
    own_hub.publish("m-a-p/COIG-P", {"data/train-00000-of-00001.parquet": parquet(rows)[:-100]})
    train = [ultrafeedback_row(n) | {"chosen": []} for n in range(10)]
    own_hub.publish(
        "HuggingFaceH4/ultrafeedback_binarized",
        {
            "data/train_prefs-00000-of-00002.parquet": parquet(train),
            "data/test_prefs-00000-of-00001.parquet": parquet(train),
        },
    )
    for name, reason in {
        "dpo_en_zh": "dpo_zh.json of llamafactory/DPO-En-Zh-20k is not a complete JSON list",
        "orca_dpo": "cut short",
        "coig_p": "is not a complete Parquet file",
        "ultrafeedback": "train_prefs-00001-of-00002.parquet is not there",
    }.items():
        failed = rlguide("download", name)
        assert failed.returncode == 1, failed.stderr
        assert reason in failed.stderr
        assert "Traceback" not in failed.stderr
    assert registry.read_bytes() == before
    assert [path.name for path in (workspace / "data").glob("[!.]*") if path != registry] == []
    # Mended on the hub: the same command succeeds.
    own_hub.publish("llamafactory/DPO-En-Zh-20k", {"dpo_zh.json": array([sharegpt_row(n, "zh") for n in range(50)])})
    assert rlguide("download", "dpo_en_zh").returncode == 0


def test_a_prompt_of_the_held_out_split_is_not_trained_on(
    own_hub: HubServer, rlguide: Rlguide, workspace: Path
) -> None:
    train = [ultrafeedback_row(n) for n in range(30)]
    own_hub.publish(
        "HuggingFaceH4/ultrafeedback_binarized",
        {
            "data/train_prefs-00000-of-00001.parquet": parquet(train),
            "data/test_prefs-00000-of-00001.parquet": parquet([*train[:2], ultrafeedback_row(1, test=True)]),
        },
    )
    done = rlguide("download", "ultrafeedback")
    assert done.returncode == 0, done.stderr
    assert "2 x the same prompt is in the held-out split" in done.stderr
    data = workspace / "data"
    assert len(read_rows(data / "ultrafeedback.parquet")) == 28
    assert len(read_rows(data / "ultrafeedback_test.parquet")) == 3


def test_a_killed_download_is_completed_by_the_next(
    own_hub: HubServer, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    rows = [sharegpt_row(n, "zh") for n in range(60_000)]
    for n, row in enumerate(rows):
        row["chosen"]["value"] += os.urandom(120).hex() + str(n)  # does not compress: a file of some size
    own_hub.publish("m-a-p/COIG-P", {f"data/train-0000{i}-of-00002.parquet": parquet(rows[i::2]) for i in range(2)})
    data = workspace / "data"
    data.mkdir()
    (data / "dataset_info.json").write_text(json.dumps(FOREIGN), encoding="utf-8")
    for delay in (0.8, 1.3, 2.0):
        process = subprocess.Popen(
            [rlguide_command(), "download", "coig_p"], cwd=workspace, env=environment, stderr=subprocess.DEVNULL
        )
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert read_json(data / "dataset_info.json").items() >= FOREIGN.items()
    done = rlguide("download", "coig_p")
    assert done.returncode == 0, done.stderr
    manifest = read_json(data / "coig_p.manifest.json")
    assert sum(file["rows"] for file in manifest["files"]) == 60_000
    assert read_json(data / "dataset_info.json").items() >= FOREIGN.items()
    assert [path.name for path in data.glob(".*.tmp")] == []


def test_a_transfer_that_was_cut_off_goes_on_where_it_stopped(
    own_hub: HubServer, rlguide: Rlguide, workspace: Path, environment: dict[str, str]
) -> None:
    rows = [orca_row(n) | {"rejected": os.urandom(20_000).hex()} for n in range(1000)]
    content = jsonl(rows)  # 40 MB; the client writes 10 MB at a time
    own_hub.publish("Intel/orca_dpo_pairs", {"orca_rlhf.jsonl": content})
    line = RangeGateway(own_hub, rate=6e6)  # more than 2 s until so much is there, so that a line of progress is due
    environment["HF_ENDPOINT"] = line.url
    process = subprocess.Popen(
        [rlguide_command(), "download", "orca_dpo"], cwd=workspace, env=environment, stderr=subprocess.PIPE, text=True
    )
    blobs = Path(environment["HF_HOME"]) / "hub" / "datasets--Intel--orca_dpo_pairs" / "blobs"
    deadline = time.monotonic() + 60
    while sum(part.stat().st_size for part in blobs.glob("*.incomplete")) < 20_000_000:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    _, said = process.communicate()
    assert "fetching orca_rlhf.jsonl:" in said  # not silent while it fetched
    assert not (workspace / "data" / "dataset_info.json").exists()
    line.rate, line.carried = 1e9, 0
    done = rlguide("download", "orca_dpo")
    line.close()
    assert done.returncode == 0, done.stderr
    assert line.carried < len(content) - 19_000_000
    manifest = read_json(workspace / "data" / "orca_dpo.manifest.json")
    assert manifest["source"]["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()
