"""A run that ends while a command looks at it is a finished run for all of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.engine.running import held
from rlguide.runs.manage.listed import list_runs
from rlguide.runs.manage.stop import running_run, stop
from rlguide.runs.record import open_run
from rlguide.runs.view.attach import Attached, how_it_ended, run_to_watch
from rlguide.workspace import Workspace
from tests.runs.manage.run_files import write_run

NAME = "saves/a"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def folder(ws: Workspace) -> Path:
    return write_run(ws, "a", status="running")


def ends_at_look(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The run is written off as finished just before somebody looks, for the `number`th time, whether it lives."""
    looks = 0

    def is_training(*_: object) -> bool:
        nonlocal looks
        looks += 1
        if looks == number:
            record = json.loads((folder / "run.json").read_text())
            (folder / "run.json").write_text(json.dumps({**record, "status": "finished"}))
        return looks < number

    monkeypatch.setattr("rlguide.policy.run_state.is_training", is_training)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_list_does_not_call_it_dead(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    ends_at_look(folder, monkeypatch, number)
    assert list_runs(ws)[0].state == "finished"


def test_watching_does_not_call_it_killed(ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(ws, NAME)
    ends_at_look(folder, monkeypatch, 1)
    attached = Attached(ws, run)
    assert attached.state.is_over and attached.state.phase == "finished"
    assert how_it_ended(attached) is None


@pytest.mark.parametrize("number", [2, 3])
def test_stopping_leaves_its_record(
    ws: Workspace, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    ends_at_look(folder, monkeypatch, number)
    assert stop(ws, running_run(ws, NAME)).status == "finished"
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert f"{NAME} had finished already" in capsys.readouterr().err


def test_one_whose_engine_has_not_started_is_running_for_all(ws: Workspace) -> None:
    newer = {"status": "prepared", "created": "2026-01-01T10:00:00+00:00"}
    folder = write_run(ws, "a", **newer)
    write_run(ws, "b")
    with held(folder, NAME):
        assert open_run(ws, NAME).status == "running"
        assert {row.name: row.state for row in list_runs(ws)} == {NAME: "running", "saves/b": "finished"}
        assert run_to_watch(ws, None).name == running_run(ws, None).name == NAME
        assert "resume" not in open_run(ws, NAME).next_step
    assert open_run(ws, NAME).status == "interrupted"
