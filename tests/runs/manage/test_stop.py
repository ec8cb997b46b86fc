"""A training is stopped from outside as Ctrl-C would stop it, whoever is left of it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.process import group_alive, is_alive
from rlguide.engine.running import held, holders
from rlguide.runs.record import Run, open_run
from rlguide.runs.training.train import resume
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.recipes.conftest import ws
from tests.runs.test_retry import RUN, STEPS, asked, begun, engine, plan, started

__all__ = ["engine", "plan", "ws"]
ROOT = Path(__file__).resolve().parents[3]
# `rlguide train --resume`, with the signals as its command line sets them and another engine.
SCRIPT = """
import signal, sys
from dataclasses import replace
from pathlib import Path
from rlguide.cli import _interrupt
from rlguide.runs.record import open_run
from rlguide.runs.training.train import resume
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE
signal.signal(signal.SIGTERM, _interrupt)
root, python, name = sys.argv[1:]
ws = Workspace(Path(root))
resume(ws, replace(ENGINE, python=Path(python)), open_run(ws, name))
"""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def training(ws: Workspace, engine: Engine, plan: Path) -> Iterator[Start]:
    """Starts a training that waits at step 7, in a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def start(name: str = RUN, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
        run = prepared(ws, engine, name)
        asked(plan, [{"above": 1, "at": 7, "how": "wait"}])
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ws.root), str(engine.python), name],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            **{"cwd": ROOT, "stderr": subprocess.PIPE, "text": True, "preexec_fn": before},
        )
        processes.append(process)
        deadline = time.monotonic() + 60
        while not (run.path / "waits").exists():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()


def prepared(ws: Workspace, engine: Engine, name: str) -> Run:
    """A run that has failed before its first step."""
    from dataclasses import replace

    from rlguide.runs.record import create_run

    run = create_run(ws, replace(begun(ws, engine), output_dir=name), {})
    run.update(status="failed", config={**run.config, "output_dir": name})
    return run


def group_of(ws: Workspace, name: str = RUN) -> int:
    pid = open_run(ws, name).record.pid
    assert pid is not None
    return pid


def stopped(ws: Workspace, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert rlguide("stop", *words, "-w", str(ws.root)) == 0
    return " ".join(capsys.readouterr().err.split())


def assert_resumes(ws: Workspace, engine: Engine, plan: Path, name: str = RUN) -> None:
    asked(plan, [])
    finished = resume(ws, engine, open_run(ws, name))
    steps = [json.loads(line)["step"] for line in (finished.path / "trained.jsonl").read_text().splitlines()]
    assert finished.status == "finished"
    assert steps == [1, 2, 3, 4, 5, 6, 7, *range(7, STEPS + 1)]  # the checkpoint was of step 6


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with what it starts in the background


@pytest.mark.parametrize("before", [None, ignore_interrupts])
def test_its_rlguide_writes_the_record_as_at_ctrl_c(
    ws: Workspace,
    engine: Engine,
    plan: Path,
    training: Start,
    capsys: pytest.CaptureFixture[str],
    before: Callable[[], None] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    process = training(before=before)
    group = group_of(ws)
    said = stopped(ws, capsys)
    _, err = process.communicate(timeout=60)
    resumed = f"stopped; checkpoint at step 6 is kept. Resume with: rlguide train --resume {RUN}"
    assert said == f"stopping {RUN} {resumed}"
    assert resumed in err and "KeyboardInterrupt" in err  # which `rlguide` says as "interrupted"
    assert not group_alive(group)
    record = open_run(ws, RUN).record
    assert (record.status, record.pid, record.failure) == ("interrupted", None, None)
    assert_resumes(ws, engine, plan)


def test_a_training_whose_rlguide_died_is_stopped_and_settled(
    ws: Workspace, engine: Engine, plan: Path, training: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    process = training()
    group = group_of(ws)
    process.kill()
    process.wait()
    assert group_alive(group) and open_run(ws, RUN).status == "running"
    assert "Resume with: rlguide train --resume" in stopped(ws, capsys, RUN)
    assert not group_alive(group)
    assert open_run(ws, RUN).record.status == "interrupted"
    assert_resumes(ws, engine, plan)


def test_who_closes_another_file_meanwhile_still_holds_its_run(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, read, gone = ws.saves / "a", os.readlink, iter([True])

    def readlink(link: Path) -> str:
        if f"/{os.getpid()}/" in str(link) and next(gone, False):
            raise FileNotFoundError
        return read(link)

    with held(folder, "a"):
        monkeypatch.setattr(os, "readlink", readlink)
        assert os.getpid() in holders(folder)
        assert next(gone, None) is None


def test_one_that_was_suspended_is_stopped_too(
    ws: Workspace, training: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    process = training()
    process.send_signal(signal.SIGSTOP)
    stopped(ws, capsys)
    process.communicate(timeout=60)
    assert open_run(ws, RUN).record.status == "interrupted"


def test_one_of_several_must_be_named(ws: Workspace, training: Start, capsys: pytest.CaptureFixture[str]) -> None:
    others = [training("saves/第二 run"), training(RUN)]
    assert rlguide("stop", "-w", str(ws.root)) == 2
    error = capsys.readouterr().err
    assert f"several runs are training: saves/第二 run, {RUN}" in error or f"{RUN}, saves/第二 run" in error
    command = error.split("`")[1]
    for pasted in (command, "rlguide stop"):
        assert rlguide(*shlex.split(pasted)[1:], "-w", str(ws.root), "--json") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["status"] == "interrupted" and found["checkpoint"] == 6
        assert found["resume"] == f"rlguide train --resume {shlex.quote(found['run'])}"
    assert not any(is_alive(process.pid) and process.poll() is None for process in wait_all(others))


def wait_all(processes: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for process in processes:
        process.communicate(timeout=60)
    return processes


def test_nothing_to_stop(ws: Workspace, engine: Engine, plan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rlguide("stop", "-w", str(ws.root)) == 2
    assert "nothing under" in capsys.readouterr().err
    started(ws, engine)
    capsys.readouterr()
    assert rlguide("stop", RUN, "-w", str(ws.root)) == 2
    error = capsys.readouterr().err
    assert f"{RUN} is not training: it is finished" in error and len(error.strip().splitlines()) == 2
    assert rlguide("stop", "saves/none", "-w", str(ws.root)) == 2


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """A process that holds the folder and cannot be seen."""
    import fcntl

    with (folder / ".training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_what_trains_out_of_reach_is_said(
    ws: Workspace, engine: Engine, plan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = started(ws, engine)
    run.update(status="running")
    with elsewhere(run.path):  # held by this very process, which it does not stop
        assert rlguide("stop", "-w", str(ws.root)) == 1
    assert "or is another user's" in " ".join(capsys.readouterr().err.split())
