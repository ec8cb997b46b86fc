"""`rlguide watch`: what is seen of a run from another terminal, by its files alone."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

from rlguide.cli import build_app
from rlguide.engine.running import EVENTS, held
from rlguide.runs.metrics import MetricsLog
from rlguide.runs.view.attach import Attached, attached_document, follow, how_it_ended, run_to_watch
from rlguide.runs.view.screen import document
from rlguide.runs.view.state import RunState
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.cli.test_printed_commands import parse
from tests.runs.view.conftest import CONFIG, NAME, Clock, make_run, recorded, recorded_lines
from tests.terminal import Terminal


def write_events(root: Path, count: int | None = None, shift: float = 0.0) -> None:
    """The first events of the recorded run, later by so many seconds."""
    with (root / NAME / EVENTS).open("a") as file:
        for line in recorded_lines()[:count]:
            values = json.loads(line)
            file.write(json.dumps({**values, "time": values["time"] + shift}) + "\n")


def time_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@contextmanager
def training(root: Path, **values: Any) -> Iterator[Workspace]:
    """A run that trains: something holds its folder."""
    make_run(root, **values)
    with held(root / NAME, NAME):
        yield Workspace(root)


def test_watch_and_train_have_one_state(tmp_path: Path, state: RunState, clock: Clock) -> None:
    """What is read from the files is what was seen as it happened."""
    with training(tmp_path, started=time_of(clock.now)) as ws:
        write_events(tmp_path, 90)
        for event in recorded()[:90]:
            clock.now = event.time
            state.see(event)
        assert document(Attached(ws, run_to_watch(ws, NAME), clock).state) == document(state)


def test_how_long_it_has_trained_is_what_runs_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From its start, the imports of the engine too: before its first event, while it trains, and over all attempts."""
    now = time.time()
    with training(tmp_path, started=time_of(now - 3600.5), total_steps=162):
        assert rlguide("watch", "--once", "-w", str(tmp_path)) == 0
        assert "1:00:00 since the start" in capsys.readouterr().out
        write_events(tmp_path, 30, shift=now - recorded()[29].time)
        assert rlguide("watch", "--once", "-w", str(tmp_path)) == 0
        assert "1:00:00 since the start" in capsys.readouterr().out
    make_run(tmp_path, status="interrupted", seconds=7322.0)
    assert rlguide("watch", "--once", "-w", str(tmp_path)) == 1
    assert "2:02:02 in all" in capsys.readouterr().out
    assert rlguide("runs", "-w", str(tmp_path)) == 0
    assert "2 h 02 min" in capsys.readouterr().out


def test_what_is_written_later_is_seen(tmp_path: Path, state: RunState, clock: Clock) -> None:
    with training(tmp_path) as ws:
        write_events(tmp_path, 30)
        attached = Attached(ws, run_to_watch(ws, NAME), clock)
        assert attached.state.step <= 40
        with (tmp_path / NAME / EVENTS).open("a") as file:
            file.writelines(line + "\n" for line in recorded_lines()[30:])
        for event in attached.new():
            attached.state.see(event)
        for event in recorded():
            clock.now = event.time
            state.see(event)
        assert attached.state.rows == state.rows and not attached.state.is_over


def test_a_run_without_events_is_shown_by_its_metrics(tmp_path: Path) -> None:
    run = make_run(tmp_path, status="finished")
    with MetricsLog(run.path / "metrics.jsonl") as log:
        for step in (1, 2, 3):
            log.add(step, {"loss": 1 / step})
    attached = Attached(Workspace(tmp_path), run)
    assert [row["loss"] for row in attached.state.rows] == [1, 1 / 2, 1 / 3]
    assert (attached.state.step, attached.state.is_over, attached.state.phase) == (3, True, "finished")


def test_without_a_name_it_is_the_newest_that_trains(tmp_path: Path) -> None:
    make_run(tmp_path, "saves/newer", status="finished", created="2026-02-01T00:00:00+00:00")
    assert run_to_watch(Workspace(tmp_path), None).name == "saves/newer"
    with training(tmp_path) as ws:
        assert run_to_watch(ws, None).name == NAME
        assert run_to_watch(ws, "saves/newer").name == "saves/newer"


def test_in_a_pipe_each_log_is_a_line_until_the_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    with held(tmp_path / NAME, NAME):
        write_events(tmp_path, 40)
        attached = Attached(Workspace(tmp_path), run_to_watch(Workspace(tmp_path), None))
        rest = iter(recorded_lines()[40:])

        def wait(_: float) -> None:
            line = next(rest, None)
            if line is None:
                make_run(tmp_path, status="finished")
                (tmp_path / NAME / ".training.lock").unlink(missing_ok=True)
                attached._looked = 0.0
                return
            with (tmp_path / NAME / EVENTS).open("a") as file:
                file.write(line + "\n")

        follow(attached, wait)
    out, err = capsys.readouterr()
    assert out.startswith(f"{NAME}  step ") and "since the start" in out.split("\n")[0]  # how it stood before
    logs = [json.loads(line) for line in recorded_lines()[40:] if '"log"' in line and "train_runtime" not in line]
    lines = [line for line in out.split("\n") if line.startswith("step ")]
    assert [line.split("  ")[0] for line in lines] == [f"step {log['step']}/162" for log in logs]
    assert "held-out loss 0.5559" in out and err == ""


def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with training(tmp_path) as ws:
        write_events(tmp_path, 90, shift=time.time() - recorded()[89].time)
        assert rlguide("watch", NAME, "--json", "-w", str(tmp_path)) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["run"] == NAME and found["status"] == "running" and found["failure"] is None
        assert found["step"] == found["latest"]["step"] == 136
        assert found["rows"] == Attached(ws, run_to_watch(ws, NAME)).state.rows
        assert 0 < found["seconds_left"] < 100 and found["gpus"] == []


def test_once_in_a_pipe_is_plain_and_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with training(tmp_path):
        write_events(tmp_path, 90, shift=time.time() - recorded()[89].time)
        assert rlguide("watch", "--once", "-w", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{NAME}  step ") and "since the start" in out and "held-out accuracy 0.99" in out
    assert "\x1b" not in out and "⠉" not in out


# How a run ended, beside finished: (its record, events at its end, what is said, what is to be done)
ERROR = {"event": "error", "rank": 0, "chain": [{"type": "ValueError", "message": "odd shapes"}], "during": "training"}
ENDS = [
    ({"status": "running", "pid": None}, [], "was killed at step", f"resume it: `rlguide train --resume {NAME}`"),
    ({"status": "interrupted"}, [], "was stopped at step", f"`rlguide train --resume {NAME}`"),
    (
        {"status": "failed", "failure": {"what": "LLaMA-Factory failed with ValueError: odd shapes", "exit_code": 1}},
        [ERROR],
        "failed at step 27 of 162: LLaMA-Factory failed with ValueError: odd shapes",
        f"`rlguide train --resume {NAME}`",
    ),
    ({"status": "running"}, [ERROR], "failed at step 27 of 162: LLaMA-Factory failed with ValueError: odd shapes", ""),
    (
        {
            "status": "failed",
            "failure": {"what": "the GPU ran out of memory", "exit_code": 1, "memory": "gpu", "during": "training"},
        },
        [],
        "the GPU ran out of memory",
        f"`rlguide train --resume {NAME} --auto-retry`",
    ),
]


@pytest.mark.parametrize(("record", "events", "said", "fix"), ENDS)
def test_a_run_that_did_not_come_to_its_end_says_why_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: dict[str, Any], events: list[Any], said: str, fix: str
) -> None:
    make_run(tmp_path, **record)
    write_events(tmp_path, 20)
    with (tmp_path / NAME / EVENTS).open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
    assert rlguide("watch", NAME, "-w", str(tmp_path)) == 1
    err = capsys.readouterr().err.strip().split("\n")
    assert len(err) == 2 and err[0].startswith("error: ") and err[1].startswith("  fix: ")
    assert said in err[0] and fix in err[1]
    document = attached_document(Attached(Workspace(tmp_path), run_to_watch(Workspace(tmp_path), NAME)))
    assert document["failure"]["what"] == err[0].removeprefix("error: ")
    for command in (part for part in err[1].split("`") if part.startswith("rlguide ")):
        assert rlguide(*shlex.split(command)[1:], "--dry-run", "-w", str(tmp_path)) in (0, 1)  # it is a command


def test_of_one_that_a_rule_has_stopped_it_is_what_train_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    what = f"{NAME} was stopped by rule warmup: the warm-up takes 500 of 162 steps"
    config = {**CONFIG, "warmup_steps": 500, "output_dir": NAME}
    make_run(tmp_path, status="interrupted", failure={"what": what, "exit_code": 3, "rule": "warmup"}, config=config)
    write_events(tmp_path, 20)
    assert rlguide("watch", NAME, "-w", str(tmp_path)) == 1
    err = capsys.readouterr().err.strip().split("\n")
    change = f"rlguide train --replay {NAME} --set warmup_steps=0 --set warmup_ratio=0.1"
    assert err[0] == f"error: {what} (at step 27 of 162)" and len(err) == 2
    assert err[1].endswith(f": `{change}`; or resume all the same: `rlguide train --resume {NAME}`")
    parse(typer.main.get_command(build_app()), change)
    assert rlguide("runs", "-w", str(tmp_path)) == 0
    assert err[1].removeprefix("  fix: ") in capsys.readouterr().err


def test_a_run_on_another_host_is_not_called_dead(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its files may lie on a disk that several hosts share."""
    make_run(tmp_path, status="running", pid=1, surroundings={"host": "another"})
    write_events(tmp_path, 60, shift=time.time() - recorded()[59].time)
    assert rlguide("watch", "--once", "-w", str(tmp_path)) == 0
    assert "it trains on another host" in capsys.readouterr().out
    make_run(tmp_path, status="running", pid=1, surroundings={"host": platform.node()})
    assert rlguide("watch", "--once", "-w", str(tmp_path)) == 1
    assert "was killed at step" in capsys.readouterr().err


def test_training_that_ended_unwatched_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, status="running")
    state = {"global_step": 162, "max_steps": 162}
    (run.path / "trainer_state.json").write_text(json.dumps(state))
    (run.path / "train_results.json").write_text("{}")
    error = how_it_ended(Attached(Workspace(tmp_path), run))
    assert error is not None and "trained all its steps" in error.what
    assert error.fix == f"complete it, which trains nothing: `rlguide train --resume {NAME}`"


@pytest.mark.parametrize("damage", ["no events", "half a line", "binary", "no folder"])
def test_damaged_folders_are_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    run = make_run(tmp_path, status="finished")
    write_events(tmp_path, 50)
    events = run.path / EVENTS
    if damage == "no events":
        events.unlink()
    elif damage == "half a line":
        events.write_bytes(events.read_bytes()[:-40])
    elif damage == "binary":
        events.write_bytes(os.urandom(4000))
    else:
        (run.path / "run.json").unlink()
    assert rlguide("watch", NAME, "-w", str(tmp_path), "--json") == (2 if damage == "no folder" else 0)
    assert "Traceback" not in capsys.readouterr().err


def test_a_terminal_that_is_resized_has_no_stale_line_and_ctrl_c_leaves_the_run_alone(tmp_path: Path) -> None:
    pytest.importorskip("pyte")
    with training(tmp_path):
        write_events(tmp_path, 60, shift=time.time() - recorded()[59].time)
        terminal = Terminal(["watch", "-w", str(tmp_path)], 80, 24)
        try:
            terminal.until("left (until")
            for columns, lines in ((60, 30), (120, 24), (80, 20), (60, 24), (200, 40)):
                terminal.resize(columns, lines)
                shown = terminal.read(1.2)
                for once in (NAME, "since the start", "loss  ─", "reward accuracy"):
                    assert sum(once in line for line in shown) == 1, (columns, once, shown)
                assert next(at for at, line in enumerate(shown) if line) == 0
                assert all(len(line) <= columns for line in shown)
            os.kill(terminal.process.pid, signal.SIGINT)
            shown = terminal.until("stop it: ")
            assert terminal.process.wait(20) == 0
            assert f"watch it again: rlguide watch {NAME} stop it: rlguide stop {NAME}" in " ".join(
                " ".join(shown).split()
            )
            assert terminal.raw.count(b"\x1b[?1049h") == terminal.raw.count(b"\x1b[?1049l") == 1
            assert (tmp_path / NAME / ".training.lock").exists()
            with pytest.raises(BlockingIOError), (tmp_path / NAME / ".training.lock").open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            terminal.process.kill()


def test_in_a_terminal_the_end_of_the_run_ends_it_with_the_report(tmp_path: Path) -> None:
    pytest.importorskip("pyte")
    with training(tmp_path):
        write_events(tmp_path, 60, shift=time.time() - recorded()[59].time)
        terminal = Terminal(["watch", "-w", str(tmp_path)], 60, 44)
        try:
            terminal.until("left (until")
            write_events(tmp_path)
            make_run(tmp_path, status="finished")
            (tmp_path / NAME / ".training.lock").unlink()
            shown = terminal.until("finished after 162 steps")
            terminal.until("loss ─")
            assert any(line.startswith(f"{NAME}: ") for line in shown)  # its verdict
            assert terminal.process.wait(20) == 0
        finally:
            terminal.process.kill()


def test_in_a_terminal_a_run_that_was_killed_says_so_below_its_curves(tmp_path: Path) -> None:
    pytest.importorskip("pyte")
    make_run(tmp_path, status="running", pid=None)
    write_events(tmp_path, 60)
    terminal = Terminal(["watch", NAME, "-w", str(tmp_path)], 60, 36)
    try:
        shown = terminal.until("--resume saves/demo/lora/dpo")
        assert terminal.process.wait(20) == 1
        assert shown[0].startswith(NAME) and any(line.startswith("loss  ─") for line in shown)
        assert "error: saves/demo/lora/dpo was killed at step" in " ".join(" ".join(shown).split())
    finally:
        terminal.process.kill()
