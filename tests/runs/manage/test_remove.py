"""What goes with a run, what stays, and what another run stands on."""

from __future__ import annotations

import fcntl
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlguide.runs.manage.remove import plan_run_removal, remove_run
from rlguide.runs.record import find_runs
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.policy.checkpoint_files import write_lora, write_model
from tests.runs.manage.run_files import write_run


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run with a checkpoint, in a workspace that is the current folder."""
    root = tmp_path / "工作 space"
    root.mkdir()
    monkeypatch.chdir(root)
    ws = Workspace(root)
    write_model(root / "models/tiny-base")
    write_lora(write_run(ws, "the run") / "checkpoint-4")
    return ws


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    """The two lines of an error."""
    capsys.readouterr()
    assert rlguide(*words) == 2
    what, fix = capsys.readouterr().err.strip().splitlines()[-2:]
    return what, fix


def test_it_says_what_goes_asks_and_removes_all(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_run_removal(ws, "saves/the run")
    size = sum(path.stat().st_size for path in (ws.saves / "the run").rglob("*") if path.is_file())
    assert (plan.files, plan.size, plan.steps) == (8, size, (4,))
    what, fix = refused(capsys, "runs", "remove", "saves/the run")
    assert "this is not a terminal" in what
    assert (ws.saves / "the run/checkpoint-4").is_dir()
    assert rlguide(*shlex.split(fix.removeprefix("  fix: rlguide"))) == 0
    assert "deletes saves/the run: 8 files" in capsys.readouterr().err
    assert not list(ws.saves.iterdir())


ABOVE: dict[str, dict[str, Any]] = {
    "its stack": {"stack": ["saves/the run", "saves/next"]},
    "its reference": {"reference": {"base": "models/tiny-base", "adapters": ["saves/the run/checkpoint-4"]}},
    "its base": {"base": "saves/the run", "stack": ["saves/next"]},
    "its reward model": {"config": {"reward_model": "saves/the run"}},
    "its merged base": {"base": "saves/merged", "stack": ["saves/next"]},
}


@pytest.mark.parametrize("how", ABOVE)
def test_what_another_run_stands_on_stays(ws: Workspace, capsys: pytest.CaptureFixture[str], how: str) -> None:
    merged = write_model(ws.saves / "merged")
    manifest = {"base": "models/tiny-base", "adapters": [{"path": "saves/the run", "sha256": ""}]}
    (merged / "rlguide.json").write_text(json.dumps(manifest))
    write_run(ws, "next", **ABOVE[how])
    what, fix = refused(capsys, "runs", "remove", "saves/the run", "--yes")
    assert "saves/next stands on saves/the run" in what
    assert (ws.saves / "the run/adapter_model.safetensors").is_file()
    command = fix.split("`")[1]
    assert command == "rlguide runs remove saves/next"
    assert rlguide(*shlex.split(command)[1:], "--yes") == 0
    assert rlguide("runs", "remove", "saves/the run", "--yes") == 0
    assert "keeps saves/merged, which was merged from it" in capsys.readouterr().err
    assert merged.is_dir() and not find_runs(ws)


def test_a_run_below_it_or_beside_it_does_not_matter(ws: Workspace) -> None:
    write_run(ws, "the run-2")
    write_run(ws, "above", stack=["saves/the run", "saves/above"])
    remove_run(ws, "saves/above")
    remove_run(ws, "saves/the run")
    assert [run.name for run in find_runs(ws)] == ["saves/the run-2"]


def test_what_trains_is_stopped_first(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with (ws.saves / "the run/.training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        what, fix = refused(capsys, "runs", "remove", "saves/the run", "-y")
    assert what.endswith("saves/the run is training") and fix.endswith("`rlguide stop 'saves/the run'`")


def test_a_folder_with_more_than_the_run_stays(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(ws, "the run/inside")
    assert "holds another run, saves/the run/inside" in refused(capsys, "runs", "remove", "saves/the run", "-y")[0]
    (ws.saves / "link").symlink_to(ws.saves / "the run")
    assert "is a link to" in refused(capsys, "runs", "remove", "saves/link", "-y")[0]
    (ws.root / "run.json").write_text("{}")
    assert "which is no part of a run" in refused(capsys, "runs", "remove", str(ws.root), "-y")[0]
    assert "is not a run" in refused(capsys, "runs", "remove", "saves/none", "-y")[0]


def test_a_damaged_run_goes_too_and_no_damaged_one_keeps_another(ws: Workspace) -> None:
    write_run(
        ws, "other", base="a\0b", stack=[5], config={"model_name_or_path": "~nobody/x", "reward_model": "x" * 5000}
    )
    (ws.saves / "the run/run.json").write_text("{")
    remove_run(ws, "saves/the run")
    (ws.saves / "other/run.json").write_text("[]")
    remove_run(ws, "saves/other")
    assert not list(ws.saves.iterdir())


def test_a_link_in_it_is_removed_and_not_followed(ws: Workspace) -> None:
    elsewhere = ws.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").touch()
    (ws.saves / "the run/eval").symlink_to(elsewhere)
    remove_run(ws, "saves/the run")
    assert (elsewhere / "file").exists() and not (ws.saves / "the run").exists()


KILLED = """
import os, shutil
from pathlib import Path
from rlguide.runs.manage.remove import remove_run
from rlguide.workspace import Workspace
shutil.rmtree = lambda path, ignore_errors=False: ignore_errors or os._exit(9)
remove_run(Workspace(Path(".").resolve()), "saves/the run")
"""


def test_killed_in_between_the_run_is_gone_and_what_is_left_goes_the_next_time(ws: Workspace) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED], cwd=ws.root).returncode == 9
    assert not find_runs(ws) and (ws.saves / ".the run~removed").is_dir()
    write_run(ws, "the run")
    remove_run(ws, "saves/the run")
    assert not list(ws.saves.iterdir())


@pytest.mark.parametrize(("status", "is_kept"), [("interrupted", True), ("failed", True), ("finished", False)])
def test_data_that_a_run_needs_to_be_resumed_stays(
    ws: Workspace, capsys: pytest.CaptureFixture[str], status: str, is_kept: bool
) -> None:
    rows = [{"prompt": f"q {at}", "chosen": "Yes.", "rejected": "no"} for at in range(40)]
    (ws.root / "pairs.json").write_text(json.dumps(rows))
    assert rlguide("register", "pairs.json", "--test-size", "0.25") == 0
    (ws.saves / "the run/run.json").unlink()
    write_run(ws, "half", status=status, config={"dataset": "other", "eval_dataset": "pairs_test"})
    if not is_kept:
        assert rlguide("remove", "pairs", "--yes") == 0
        assert "named by: saves/half" in capsys.readouterr().err
        return
    what, fix = refused(capsys, "remove", "pairs", "--yes")
    assert f"saves/half is {status} and cannot be resumed without it" in what
    assert "rlguide train --resume saves/half" in fix
    assert rlguide(*shlex.split(fix.split("`")[-2])[1:], "--yes") == 0
    assert rlguide("remove", "pairs", "--yes") == 0
