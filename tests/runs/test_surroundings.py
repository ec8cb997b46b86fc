"""What is needed to do a run again is in its record, and no secret is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.events import EventReader, Surroundings
from rlguide.engine.hardware import Gpu, loaded_driver
from rlguide.policy.run_record import RunRecord
from rlguide.recipes.checks import holds_secret, names_secret
from rlguide.recipes.prepare import Prepared
from rlguide.runs.record import create_run
from rlguide.runs.surroundings.gather import gather, git_state, resumed
from rlguide.runs.surroundings.secrets import LEFT_OUT, without_secrets
from rlguide.runs.surroundings.variables import KEPT, kept_variables
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE, asked
from tests.recipes.conftest import ws as ws

SECRETS = {
    "HF_TOKEN": "hf_thisIsATokenOfTheHub",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "SWANLAB_API_KEY": "swan-key-that-nobody-sees",
    "https_proxy": "http://somebody:proxyPassw0rd@127.0.0.1:9",
    "MLFLOW_TRACKING_URI": "https://somebody:mlflowPassw0rd@tracker.invalid",
    "HF_ENDPOINT": "https://mirror.invalid/?token=endpointT0ken",
}
VALUES = [*list(SECRETS.values())[:3], "proxyPassw0rd", "mlflowPassw0rd", "endpointT0ken"]


def test_no_secret_of_the_environment_reaches_the_folder(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    words = ["train", "--set", f"hub_token={VALUES[0]}", "--wandb-api-key=x", f"a{VALUES[1]}b", "http://u:p@host/x"]
    monkeypatch.setattr(sys, "argv", ["rlguide", *words])
    prepared = asked(ws)
    run = create_run(ws, prepared, ENGINE.versions)
    for path in filter(Path.is_file, run.path.rglob("*")):
        content = path.read_bytes()
        assert not [value for value in VALUES if value.encode() in content], path
    kept = run.record.surroundings or {}
    hidden = [f"hub_token={LEFT_OUT}", f"--wandb-api-key={LEFT_OUT}", LEFT_OUT, LEFT_OUT]
    assert kept["command"] == ["rlguide", "train", "--set", *hidden]
    assert kept["variables"]["HF_ENDPOINT"] == kept["variables"]["MLFLOW_TRACKING_URI"] == LEFT_OUT
    assert not {"HF_TOKEN", "WANDB_API_KEY", "https_proxy"} & kept["variables"].keys()


def test_no_variable_that_is_kept_is_named_like_a_secret() -> None:
    assert not [name for name in KEPT if names_secret(name.strip("*"))]
    environment = dict.fromkeys(["CUDA_VISIBLE_DEVICES", "NCCL_P2P_DISABLE", "HOME", "HF_TOKEN", "NCCL"], "1")
    assert kept_variables(environment) == {"CUDA_VISIBLE_DEVICES": "1", "NCCL_P2P_DISABLE": "1"}


TREES = st.recursive(
    st.none() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


@given(TREES, st.text("abcdef0123456789", min_size=8, max_size=12))
def test_a_secret_is_found_wherever_it_stands_and_nothing_else_changes(tree: Any, secret: str) -> None:
    cleaned = without_secrets([tree, {"deep": [f"x{secret}y"]}, f"--set={secret}"], {"HF_TOKEN": secret})
    assert secret not in json.dumps(cleaned)
    is_clean = not (is_named(tree) or holds_secret(str(tree)))
    assert not is_clean or without_secrets([tree], {"HF_TOKEN": "short"}) == [tree]


def is_named(tree: Any) -> bool:
    """Whether a key or the name of a KEY=VALUE in it says that it is a secret."""
    if isinstance(tree, dict):
        return any(names_secret(key) or is_named(item) for key, item in tree.items())
    if isinstance(tree, list):
        return any(map(is_named, tree))
    return isinstance(tree, str) and "=" in tree


def test_what_is_gathered(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    prepared = asked(ws, settings={"data_seed": 3})
    found = gather(ws, prepared)
    assert found["seeds"] == {"seed": prepared.config["seed"], "data_seed": 3}
    assert (found["gpus"], found["driver"]) == ([], "")
    assert found["variables"]["CUDA_VISIBLE_DEVICES"] == "0"
    assert found["command"][0] == "rlguide" and found["cores"] == os.cpu_count()
    on_gpu = with_gpu(prepared)
    monkeypatch.setattr("rlguide.runs.surroundings.gather.driver_version", lambda: "550.54.15")
    assert gather(ws, on_gpu)["gpus"] == ["NVIDIA A100"] and gather(ws, on_gpu)["driver"] == "550.54.15"


def with_gpu(prepared: Prepared) -> Prepared:
    from dataclasses import replace

    config = {**prepared.config, "use_cpu": False}
    return replace(prepared, config=config, gpus=[Gpu(0, "NVIDIA A100", 80 << 30, 80 << 30, (8, 0))])


def test_the_source_of_a_dataset_and_of_its_views_is_kept(ws: Workspace, tmp_path: Path) -> None:
    from rlguide.data.ingest.options import IngestOptions
    from rlguide.data.ingest.register import register_path
    from rlguide.data.ingest.views import view

    rows = [{"instruction": f"{n}?", "chosen": f"yes {n}", "rejected": "no"} for n in range(20)]
    (tmp_path / "more.json").write_text(json.dumps(rows), encoding="utf-8")
    register_path(ws, tmp_path / "more.json", IngestOptions(name="more"))
    for method, name in (("dpo", "more"), ("kto", view(ws, "more", "kto")), ("sft", view(ws, "more", "sft"))):
        start = {"base": "models/tiny-base"} if method == "sft" else {}
        found = gather(ws, asked(ws, method=method, datasets=("more",), **start))["sources"]
        assert found[name]["source"]["file"] == str(tmp_path / "more.json"), method
        assert "filters" in found[name]["options"] or found[name]["options"]


def git(folder: Path, *words: str) -> None:
    names = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, env={**os.environ, **names})


def test_the_commit_of_the_workspace(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None  # there is no commit yet
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True)
    (tmp_path / "beside").write_text("not tracked")
    assert git_state(tmp_path) == {"commit": head.stdout.strip(), "dirty": False}
    (tmp_path / "a").write_text("b")
    (tmp_path / "below").mkdir()
    assert git_state(tmp_path / "below") == {"commit": head.stdout.strip(), "dirty": True}
    git(tmp_path, "config", "core.fsmonitor", f"touch {tmp_path / 'ran'}; false")
    git_state(tmp_path)
    assert not (tmp_path / "ran").exists()  # what a repository's settings name is not run


def test_the_driver_says_its_version(tmp_path: Path) -> None:
    path = tmp_path / "version"
    assert loaded_driver(path) == ""
    for text, version in {
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023": "535.129.03",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  550.54.15  Release Build  (x)": "550.54.15",
        "nothing of it": "",
    }.items():
        path.write_text(text + "\nGCC version:  gcc version 12.3.0\n")
        assert loaded_driver(path) == version


def test_what_the_engine_runs_on_is_an_event() -> None:
    line = '{"event": "surroundings", "time": 1, "python": "3.11.9", "cuda": null, "devices": []}'
    assert EventReader().read(line) == Surroundings({"python": "3.11.9", "cuda": None, "devices": []})


def test_gathering_takes_no_time_and_imports_nothing_heavy(ws: Workspace) -> None:
    prepared = asked(ws)
    loaded = set(sys.modules)
    begun = time.process_time()  # of this process alone, whatever else runs
    gather(ws, prepared)
    assert time.process_time() - begun < 1.0
    assert not {name.partition(".")[0] for name in set(sys.modules) - loaded} & {"torch", "numpy", "requests", "git"}


def test_where_a_run_went_on_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["rlguide", "train", "--resume", "--set", "hub_token=abcdefghi"])
    record = RunRecord(engine={"trl": "0.19.1", "torch": "2.11.0"}, surroundings={"host": "one"})
    for number in range(30):
        found = resumed(record, {"trl": "0.19.1", "torch": f"2.{number}"})
        assert found["host"] == "one" and len(found["resumed"]) == min(number + 1, 20)
        assert found["resumed"][-1]["versions"] == {"torch": f"2.{number}"}
        assert "abcdefghi" not in str(found)
        record = RunRecord(engine=record.engine, surroundings=found)
    assert resumed(RunRecord(surroundings={"resumed": 3}), {"trl": "1"})["resumed"][0]["versions"] == {}
