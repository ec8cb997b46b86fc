"""The list of runs: what a row says, and that no run makes the list fail."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide import __version__
from rlguide.policy.run_record import RunRecord
from rlguide.runs.manage.listed import COLUMNS, cells, duration, list_runs, percent, remarks
from rlguide.runs.record import open_run
from rlguide.statistics import proportion
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.runs.manage.run_files import held_out, write_run


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def test_a_row_says_what_was_learnt_and_how_sure_that_is(ws: Workspace) -> None:
    write_run(ws, "a", [held_out(4, 0.6, 0.7), held_out(8, 0.5, 0.8), held_out(12, 0.55, 0.9)])
    [row] = list_runs(ws)
    assert (row.best_step, row.steps, row.total_steps, row.datasets) == (8, 12, 12, ("pairs",))
    exact = proportion(8, 10)
    assert row.accuracy is not None
    assert (row.accuracy.value, row.accuracy.low, row.accuracy.high) == (0.8, exact.low, exact.high)
    assert cells(row)[3:8] == ("finished", "8", percent(row.accuracy), "-", "1 h 02 min")
    assert row.as_dict()["accuracy"]["count"] == 10


@pytest.mark.parametrize(("step", "value"), [(8, 0.85), (12, 0.8), (None, 0.8)])
def test_what_an_evaluation_found_counts_for_its_own_step(ws: Workspace, step: int | None, value: float) -> None:
    folder = write_run(ws, "a", [held_out(8, 0.5, 0.8), held_out(12, 0.55, 0.9)])
    accuracy = {"value": 0.85, "ci95_low": 0.8, "ci95_high": 0.9, "count": 100}
    (folder / "eval").mkdir()
    (folder / "eval/result.json").write_text(json.dumps({"accuracy": accuracy, "step": step}))
    [row] = list_runs(ws)
    assert row.accuracy is not None and row.accuracy.value == value


def test_an_accuracy_of_ties_says_nothing(ws: Workspace) -> None:
    write_run(ws, "a", [{**held_out(8, 0.5, 0.0), "eval_rewards/margins": 0.0}])
    assert list_runs(ws)[0].accuracy is None


def test_no_interval_without_the_number_of_pairs(ws: Workspace) -> None:
    write_run(ws, "a", [held_out(8, 0.5, 0.8)], held_out={})
    [row] = list_runs(ws)
    assert cells(row)[5] == "0.800" and row.as_dict()["accuracy"] == {
        **{"value": 0.8, "ci95_low": None, "ci95_high": None, "count": 0}
    }
    write_run(ws, "b", [held_out(8, 0.5, 0.8)], held_out={}, config={"val_size": 0.25, "dataset": "pairs"})
    assert list_runs(ws)[1].as_dict()["accuracy"]["count"] == 10


def test_the_newest_comes_first_and_each_state_is_said(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    days = iter(range(1, 10))

    def made(name: str, **values: Any) -> Path:
        return write_run(ws, name, created=f"2026-02-0{next(days)}T00:00:00+00:00", **values)

    made("done")
    made("failed", status="failed", failure={"what": "memory ran out", "step": 5, "exit_code": 1})
    made("stopped", status="interrupted")
    died = made("died 了", status="running", pid=2**22 + 1)
    (died / "events.jsonl").write_text('{"event": "step", "step": 7}\n{"event": "step", "st')
    made("damaged", config=None)
    rows = list_runs(ws)
    assert [row.name.removeprefix("saves/") for row in rows] == ["died 了", "stopped", "failed", "done", "damaged"]
    assert [row.state for row in rows] == ["died", "interrupted", "failed", "finished", "damaged"]
    assert (rows[0].where, rows[0].steps, cells(rows[0])[3]) == ("at step 7", 7, "died 7/12")
    assert rows[2].where == "at step 5: memory ran out"
    assert rlguide("runs", "-w", str(ws.root)) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 6 and "! saves/stopped" not in err
    assert "! saves/died 了 died at step 7\n  next: resume it: `rlguide train --resume 'saves/died 了'`" in err
    assert "! saves/damaged: " in err and "is not the record of a run\n  fix: " in err
    assert rlguide("runs", "--json", "-w", str(ws.root)) == 0
    assert [item["state"] for item in json.loads(capsys.readouterr().out)] == [row.state for row in rows]
    assert len(remarks(rows)) == 3


def test_a_run_that_ended_unwatched_or_was_begun_on_another_host(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(ws, "ended", status="running", pid=2**22 + 1, surroundings={"host": "another"})
    (folder / "train_results.json").write_text("{}")
    (folder / "trainer_state.json").write_text('{"global_step": 12, "max_steps": 12}')
    write_run(ws, "far run", status="running", pid=1, surroundings={"host": "another"})
    write_run(ws, "here", status="running", pid=1, surroundings={"host": platform.node()})
    states = {row.name: row.state for row in list_runs(ws)}
    assert states == {"saves/ended": "unsettled", "saves/far run": "elsewhere", "saves/here": "died"}
    assert rlguide("runs", "-w", str(ws.root)) == 0
    err = capsys.readouterr().err
    assert "has trained all its steps" in err and "rlguide train --resume saves/ended" in err
    assert "is recorded as running on another, and no process of it was found here" in err
    assert rlguide("stop", "saves/far run", "-w", str(ws.root)) == 1
    error = capsys.readouterr().err
    assert "was started on another" in error and "`rlguide stop 'saves/far run'`" in error


def test_of_a_half_deleted_run_what_is_left_is_shown(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(ws, "half run", [held_out(12, 0.5, 0.8)])
    (folder / "adapter_model.safetensors").unlink()
    write_run(ws, "not trained", config={"do_train": False}, created="2026-01-01T00:00:00+00:00")
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        (ws.saves / "not trained" / file).unlink()
    half, untrained = list_runs(ws)
    assert (half.state, half.best_step, untrained.state) == ("damaged", 12, "finished")
    assert rlguide("runs", "-w", str(ws.root)) == 0
    err = capsys.readouterr().err
    assert "! saves/half run: " in err and "has no weights (adapter_model.safetensors is missing)\n  fix: " in err
    assert "`rlguide runs remove 'saves/half run'`" in err
    assert rlguide("runs", "remove", "saves/half run", "--yes", "-w", str(ws.root)) == 0 and not folder.exists()


def test_of_a_run_of_another_version_its_version_is_named(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(ws, "a b", rlguide="9.0.0", stack=[{"adapter": "saves/sft"}])
    for command in ("runs", "watch", "report"):
        assert rlguide(command, *(["saves/a b"] if command != "runs" else []), "-w", str(ws.root)) in (0, 1)
        err = capsys.readouterr().err
        assert f"saves/a b/run.json is of rlguide 9.0.0, and rlguide {__version__} cannot read it\n  fix: " in err
    assert "`rlguide runs remove 'saves/a b'`" in err
    assert rlguide("runs", "remove", "saves/a b", "--yes", "-w", str(ws.root)) == 0 and not folder.exists()


def test_nothing_to_list(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlguide("runs", "-w", str(ws.root)) == 0
    out, err = capsys.readouterr()
    assert out == "" and "there is no run under" in err
    assert rlguide("runs", "--json", "-w", str(ws.root)) == 0
    assert json.loads(capsys.readouterr().out) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
RECORD = st.fixed_dictionaries({}, optional={name: JSON for name in RunRecord.__dataclass_fields__ if name != "other"})


@given(RECORD, st.binary(max_size=60), st.binary(max_size=60), JSON)
def test_no_run_makes_the_list_fail(
    tmp_path_factory: pytest.TempPathFactory, record: dict[str, Any], metrics: bytes, events: bytes, result: Any
) -> None:
    ws = Workspace(tmp_path_factory.mktemp("ws"))
    folder = write_run(ws, "odd", **record)
    (folder / "metrics.jsonl").write_bytes(b'{"step": 3, "eval_loss": 0.5, "eval_rewards/accuracies": 0.5}\n' + metrics)
    (folder / "events.jsonl").write_bytes(events)
    (folder / "eval").mkdir()
    (folder / "eval/result.json").write_text(json.dumps({"accuracy": result, "step": result}))
    (ws.saves / "no json").mkdir()
    (ws.saves / "no json/run.json").write_bytes(metrics)
    write_run(ws, "good")
    rows = {row.name: row for row in list_runs(ws)}
    assert rows["saves/good"].state == "finished" and rows.keys() == {"saves/good", "saves/odd", "saves/no json"}
    assert rows["saves/no json"].problem
    for row in rows.values():
        json.dumps(row.as_dict(), allow_nan=False)
        assert len(cells(row)) == len(COLUMNS)


def test_how_long_a_run_trained(ws: Workspace) -> None:
    folder = write_run(ws, "a", seconds=100.0, started="2026-02-02T10:00:00+00:00", status="running")
    assert open_run(ws, "saves/a").seconds == 100  # nothing is known of the last attempt
    (folder / "events.jsonl").write_text('{"event": "step", "time": 1770026450.0}\n')  # 50 s later
    assert open_run(ws, "saves/a").seconds == 150
    run = open_run(ws, "saves/a")
    run.over("interrupted")
    assert open_run(ws, "saves/a").seconds == 150 and run.record.started is None
    write_run(ws, "old", seconds=None)
    (ws.saves / "old/events.jsonl").write_text('{"event": "step", "time": 1770026450.0}\n')
    assert open_run(ws, "saves/old").seconds == 50  # since it was created
    assert [duration(seconds) for seconds in (9.6, 61, 7200, 90000)] == ["10 s", "1 min 01 s", "2 h 00 min", "1 d 01 h"]


def test_options_of_the_list_have_no_place_before_a_subcommand(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rlguide("runs", "-w", str(ws.root), "compare", "a", "b") == 2
    assert "put --workspace behind compare" in capsys.readouterr().err
