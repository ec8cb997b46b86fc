"""Another name for a dataset, and its end: all that belongs to it, nothing else, and nothing half."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.ingest.views import kto_view, view
from rlguide.data.store import journal
from rlguide.data.store.belongings import belongs_to
from rlguide.data.store.dataset_info import change_registry, is_intact, read_registry
from rlguide.data.store.journal import settle
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.publish import check_free
from rlguide.data.store.reading import read_examples
from rlguide.data.store.remove import plan_removal, remove
from rlguide.data.store.rename import rename
from rlguide.data.store.stale_views import is_current, origin_of
from rlguide.errors import RlguideError, UsageError
from rlguide.workspace import Workspace
from tests.data.kill_at_random import die_at

PARTS = ("", "_test", "_sft", "_sft_test", "_ppo", "_ppo_test", "_kto", "_kto_test")
FOREIGN = {"theirs": {"file_name": "theirs.json", "ranking": True, "columns": {"prompt": "a", "chosen": "b"}}}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """The dataset 旧 with held-out rows and every view, made of a file beside the data folder; one of somebody else."""
    ws = Workspace(tmp_path / "工作 space")
    ws.data.mkdir(parents=True)
    (ws.data / "theirs.json").write_text('[{"a": "x", "b": "y", "c": "z"}]')
    ws.dataset_info.write_text(json.dumps(FOREIGN))
    rows = [{"prompt": f"问 {n}", "chosen": f"yes {n}", "rejected": f"no {n}" if n != 7 else ""} for n in range(200)]
    (ws.root / "source.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    register_path(ws, ws.root / "source.jsonl", IngestOptions("旧", keep_good=True, test_size=0.1))
    for use in ("sft", "ppo", "kto"):
        view(ws, "旧", use)  # type: ignore[arg-type]
    (ws.data / "旧.inspect.html").write_text("a page")
    return ws


def contents(ws: Workspace, name: str) -> dict[str, Any]:
    """What a dataset is made of, with its name taken out."""
    entries = read_registry(ws)
    own = {part: entries[name + part] for part in PARTS if name + part in entries}
    manifests = [read_manifest(ws, name), read_manifest(ws, f"{name}_kto")]
    assert all(manifest is not None and is_intact(ws, manifest) for manifest in manifests)
    assert manifests[0] is not None and manifests[1] is not None
    assert is_current(ws, f"{name}_kto", origin_of(ws, name)), "the rows for KTO are those of these pairs"
    files = {
        path.name.removeprefix(name): path.read_text(encoding="utf-8").replace(name, "*")
        for path in ws.data.glob(f"{name}*")
        if path.suffix != ".parquet" and ".manifest." not in path.name
    }
    rows = {part: list(read_examples(ws, name + part)) for part in ("", "_test", "_kto", "_kto_test")}
    return {
        "entries": json.loads(json.dumps(own, ensure_ascii=False).replace(f'"{name}', '"*')),
        "options": [manifest.options for manifest in manifests],
        "refused": manifests[0].refused,
        "files": files,
        "rows": rows,
        "names": sorted(path.name.replace(name, "*") for path in ws.data.iterdir()),
    }


def test_everything_has_the_new_name_and_is_as_it_was(ws: Workspace) -> None:
    before = contents(ws, "旧")
    assert set(before["entries"]) == set(PARTS) and set(before["files"]) == {".report.json", ".inspect.html"}
    assert rename(ws, "旧", "新") == {f"旧{part}": f"新{part}" for part in PARTS}
    assert contents(ws, "新") == before
    assert set(read_registry(ws)) == {"theirs", *(f"新{part}" for part in PARTS)}
    assert json.loads((ws.data / "新.report.json").read_text(encoding="utf-8"))["dataset"] == "新"
    made = (ws.data / "新_kto.parquet").stat().st_mtime_ns
    assert kto_view(ws, "新") == "新_kto" and (ws.data / "新_kto.parquet").stat().st_mtime_ns == made, "not made again"
    rename(ws, "新", "旧")
    assert contents(ws, "旧") == before


def test_a_change_of_case_alone(ws: Workspace) -> None:
    rename(ws, "旧", "polite")
    before = contents(ws, "polite")
    rename(ws, "polite", "Polite")
    assert contents(ws, "Polite") == before and not list(ws.data.glob("polite*"))


def test_what_somebody_took_out_of_the_registry_follows_too(ws: Workspace) -> None:
    change_registry(ws, {}, ("旧_test", "旧_kto"))
    rename(ws, "旧", "新")
    assert {f"新{end}.parquet" for end in ("", "_test", "_kto", "_kto_test")} <= set(snapshot(ws))
    assert not [name for name in (*snapshot(ws), *read_registry(ws)) if name.startswith("旧")]
    assert "新_test" not in read_registry(ws)


def test_an_entry_of_somebody_else_follows_the_file(ws: Workspace) -> None:
    change_registry(ws, {"few": {**read_registry(ws)["旧"], "file_name": "./旧.parquet", "num_samples": 5}})
    rename(ws, "旧", "新")
    assert read_registry(ws)["few"]["file_name"] == "新.parquet" and read_registry(ws)["few"]["num_samples"] == 5


def test_of_a_dataset_of_somebody_else_the_entry_alone_is_renamed(ws: Workspace) -> None:
    assert rename(ws, "theirs", "ours") == {"theirs": "ours"}
    assert read_registry(ws)["ours"] == FOREIGN["theirs"] and (ws.data / "theirs.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("旧", "theirs", "there is a dataset theirs already"),
        ("旧", "THEIRS", "differs from it in case only"),
        ("旧", "a,b", "cannot be a dataset name"),
        ("旧", "on", "cannot be a dataset name"),
        ("旧", "../up", "cannot be a dataset name"),
        ("旧", "旧", "is called so already"),
        ("旧", "taken", "taken.parquet is already there"),
        ("旧", "旧_sft", "there is a dataset 旧_sft already"),
        ("旧_test", "x", "is the held-out split of 旧"),
        ("旧_kto", "x", "is the view of 旧"),
        ("旧_kto_test", "x", "is the view of 旧"),
        ("旧_sft", "x", "is the view of 旧"),
        ("旧_ppo_test", "x", "is the view of 旧"),
        ("旧x", "x", "no dataset 旧x"),
        ("theirs", "旧_test", "is what 旧 holds out"),
    ],
)
def test_what_cannot_be_renamed_stays_as_it_is(ws: Workspace, old: str, new: str, message: str) -> None:
    (ws.data / "taken.parquet").write_text("somebody's")
    before = snapshot(ws)
    with pytest.raises(UsageError, match=message):
        rename(ws, old, new)
    assert snapshot(ws) == before


def snapshot(ws: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ws.data.iterdir() if path.is_file()}


def test_removing_takes_all_that_belongs_to_it_and_nothing_else(ws: Workspace) -> None:
    source = (ws.root / "source.jsonl").read_bytes()
    plan = plan_removal(ws, "旧")
    assert set(plan.entries) == {f"旧{part}" for part in PARTS}
    assert plan.files == {name: len(data) for name, data in snapshot(ws).items() if name.startswith("旧")}
    assert not plan.kept
    assert remove(ws, "旧") == plan
    assert read_registry(ws) == FOREIGN and set(snapshot(ws)) == {"theirs.json", "dataset_info.json"}
    assert (ws.root / "source.jsonl").read_bytes() == source


def test_of_a_dataset_of_somebody_else_the_file_stays(ws: Workspace) -> None:
    before = snapshot(ws)
    plan = remove(ws, "theirs")
    assert plan.files == {} and plan.kept == ["data/theirs.json: rlguide did not write it"]
    assert "theirs" not in read_registry(ws)
    assert {name: data for name, data in snapshot(ws).items() if name != "dataset_info.json"} == {
        name: data for name, data in before.items() if name != "dataset_info.json"
    }


def test_a_file_that_another_dataset_shows_or_that_was_changed_stays(ws: Workspace) -> None:
    change_registry(ws, {"few": {**read_registry(ws)["旧"], "file_name": "../data/旧.parquet", "num_samples": 5}})
    (ws.data / "旧_test.parquet").write_bytes(b"edited")
    plan = remove(ws, "旧")
    assert plan.kept == [
        "data/旧.parquet: dataset few shows it, too",
        "data/旧_test.parquet: it has been changed since rlguide wrote it",
    ]
    assert len(list(read_examples(ws, "few"))) == 179 and (ws.data / "旧_test.parquet").read_bytes() == b"edited"
    assert set(read_registry(ws)) == {"theirs", "few"}


def test_a_file_that_was_only_copied_goes(ws: Workspace) -> None:
    os.utime(ws.data / "旧.parquet", (1e9, 1e9))
    assert "旧.parquet" in remove(ws, "旧").files


@pytest.mark.parametrize("use", ["kto", "sft"])
def test_a_view_goes_alone(ws: Workspace, use: str) -> None:
    plan = remove(ws, f"旧_{use}")
    assert set(plan.entries) == {f"旧_{use}", f"旧_{use}_test"}
    assert all(name.startswith("旧_kto") for name in plan.files) and bool(plan.files) == (use == "kto")
    assert len(list(read_examples(ws, "旧"))) == 179
    assert {f"旧{part}" for part in PARTS} - set(read_registry(ws)) == set(plan.entries)


@pytest.mark.parametrize("name", ["旧_test", "旧_kto_test"])
def test_what_is_held_out_goes_with_its_dataset_only(ws: Workspace, name: str) -> None:
    with pytest.raises(UsageError, match="goes with it"):
        remove(ws, name)


def test_what_a_manifest_says_is_no_permission(ws: Workspace) -> None:
    victims = [ws.root / "victim.txt", ws.data / "theirs.json"]
    victims[0].write_text("mine")
    path = ws.data / "旧.manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    for dataset, file in (("theirs", "theirs.json"), ("x", "../victim.txt"), ("旧_test", "dataset_info.json")):
        forged = {
            **manifest,
            "files": [manifest["files"][0], {**manifest["files"][1], "dataset": dataset, "file": file}],
        }
        path.write_text(json.dumps(forged), encoding="utf-8")
        assert file not in plan_removal(ws, "旧").files
    remove(ws, "旧")
    assert all(victim.exists() for victim in victims) and "theirs" in read_registry(ws)


def test_what_it_belongs_to(ws: Workspace) -> None:
    assert belongs_to(ws, "旧") is None and belongs_to(ws, "theirs") is None
    assert belongs_to(ws, "旧_test") == ("旧", "held-out split")
    assert {belongs_to(ws, f"旧{part}") for part in PARTS[2:]} == {("旧", "view")}


@pytest.mark.parametrize("step", range(22))
@pytest.mark.parametrize("what", ["rename", "remove"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(ws: Workspace, what: str, step: int) -> None:
    before, whole = contents(ws, "旧"), snapshot(ws)
    work: Callable[[], object] = (lambda: rename(ws, "旧", "新")) if what == "rename" else (lambda: remove(ws, "旧"))
    child = os.fork()
    if not child:
        try:
            die_at(step)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9) and (code == 9 or step > 8)
    settle(ws)
    assert not [path.name for path in ws.data.iterdir() if path.name.startswith(".")]
    if what == "rename":
        assert contents(ws, "新") == before, "it was committed"
    else:
        assert set(snapshot(ws)) == {"theirs.json", "dataset_info.json"} and read_registry(ws) == FOREIGN
    assert len(whole) > 8


@pytest.mark.parametrize("what", ["rename", "remove"])
def test_a_kill_before_the_commit_leaves_the_old(ws: Workspace, what: str) -> None:
    before = snapshot(ws)
    child = os.fork()
    if not child:
        journal.commit = lambda *_: os._exit(9)  # type: ignore[assignment]
        rename(ws, "旧", "新") if what == "rename" else remove(ws, "旧")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    settle(ws)
    assert snapshot(ws) == before


def test_kills_at_random_moments_leave_one_of_both_names(ws: Workspace) -> None:
    before, chance, names, ends = contents(ws, "旧"), random.Random(4), ("旧", "新"), Counter[str]()
    started = time.monotonic()
    rename(ws, "旧", "新")
    duration = time.monotonic() - started
    for _ in range(40):
        name, other = names if names[0] in read_registry(ws) else names[::-1]
        child = os.fork()
        if not child:
            rename(ws, name, other)
            os._exit(0)
        time.sleep(duration * chance.uniform(0.3, 1.1))
        os.kill(child, signal.SIGKILL)
        # Machines change their speed: aim sooner after one that was over, later after one that was not.
        duration *= 0.9 if os.waitpid(child, 0)[1] == 0 else 1.1
        ends["pending"] += bool(list(ws.data.glob(".*.pending.json")))
        settle(ws)
        done = other in read_registry(ws)
        assert contents(ws, other if done else name) == before
        ends["done" if done else "not done"] += 1
    assert min(ends["done"], ends["not done"]) > 0, ends


def test_names_that_differ_in_case_only_are_refused_at_the_door(ws: Workspace) -> None:
    change_registry(ws, {"Chat": {"file_name": "elsewhere.json"}, "more_TEST": {"file_name": "x.json"}})
    for name in ("chat", "CHAT", "more"):
        with pytest.raises(UsageError, match="in case only"):
            check_free(ws, name, force=True)
    check_free(ws, "Chat", force=True)
    check_free(ws, "chats", force=False)


def test_a_broken_report_stops_it(ws: Workspace) -> None:
    (ws.data / "旧.report.json").write_bytes(b'{\n"\xff"')
    before = snapshot(ws)
    with pytest.raises(RlguideError, match="not UTF-8"):
        rename(ws, "旧", "新")
    assert snapshot(ws) == before
