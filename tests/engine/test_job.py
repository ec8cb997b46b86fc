"""Jobs and workers: real processes, whose output comes as events and whose end is explained."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.engine.events import Begun, Logged, Progress
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, Event, JobFailed, Line, Started, run_job, stream_worker
from rlguide.engine.process import group_alive, is_alive
from rlguide.errors import EngineError

ENGINE = Engine(Path(sys.executable), {})
LOOPS = "import time; print('[1]', flush=True); time.sleep(600)"


def python(code: str, cwd: Path, **variables: str) -> Command:
    return Command((sys.executable, "-c", code), cwd, variables)


def test_output_comes_as_events_in_order(tmp_path: Path) -> None:
    code = """
import os
print(" 50%|#####     | 1/2 [00:01<00:01]\\r{'loss': 0.9, 'epoch': 0.1}", end="")
with open("events", "a") as file:
    print('{"event": "begin", "step": 0, "total_steps": 2, "processes": 1}', file=file)
    print('{"event": "step", "step": 1}', file=file)
    print('{"event": "log", "step": 1, "values": {"loss": 0.5}}', file=file)
print("\\n" + os.environ["MINE"], os.getcwd())
"""
    events: list[Event] = []
    (tmp_path / "events").write_text('{"event": "step", "step": 7}\n')  # of an earlier attempt
    command = replace(python(code, tmp_path, MINE="你好"), events=tmp_path / "events")
    run_job(ENGINE, command, tmp_path / "log", events.append)
    started, *rest = events
    assert isinstance(started, Started)
    assert not is_alive(started.pid)
    assert [item for item in rest if isinstance(item, Begun)] == [Begun(0, 2, 1)]
    assert [item for item in rest if isinstance(item, Progress)] == [Progress("train", 1, 2)]
    assert [(item.step, item.values) for item in rest if isinstance(item, Logged)] == [(1, {"loss": 0.5})]
    assert [item.text for item in rest if isinstance(item, Line)][-1] == f"你好 {tmp_path}"


def test_a_failed_job_names_its_cause_and_its_log_from_the_workspace(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="Undefined dataset") as caught:
        run_job(
            ENGINE,
            python("raise ValueError('Undefined dataset')", tmp_path),
            tmp_path / "runs/log",
            lambda event: None,
        )
    assert caught.value.fix.endswith("; log: runs/log")
    assert caught.value.returncode == 1
    assert caught.value.exit_code == 1


def test_a_failed_job_says_how_it_is_done_again(tmp_path: Path) -> None:
    full = python("raise OSError(28, 'No space left on device')", tmp_path)
    for command, again in ((full, "run the same command again"), (replace(full, again="`rlguide x`"), "`rlguide x`")):
        with pytest.raises(JobFailed, match="disk is full") as caught:
            run_job(ENGINE, command, tmp_path / "log", lambda event: None)
        assert caught.value.fix == f"free some space, then {again}; log: log"


def test_what_the_listener_raises_ends_the_whole_group(tmp_path: Path) -> None:
    pids = []

    def stop(event: Event) -> None:
        if isinstance(event, Started):
            pids.append(event.pid)
        elif isinstance(event, Line):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(ENGINE, python(LOOPS, tmp_path), tmp_path / "log", stop)
    assert not group_alive(pids[0])


def test_a_worker_s_documents_come_as_they_are_printed(tmp_path: Path) -> None:
    code = "import sys\nprint('a note')\nfor line in sys.stdin.buffer: print(len(line))"
    given = tmp_path / "given"
    given.write_bytes(b"one\nthree\n")
    with given.open("rb") as file:
        assert list(stream_worker(ENGINE, python(code, tmp_path), file)) == [4, 6]


def test_a_worker_that_fails_or_takes_too_long_is_two_lines(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="ModuleNotFoundError: No module named 'nowhere'") as caught:
        list(stream_worker(ENGINE, python("import nowhere", tmp_path)))
    assert "\n" not in caught.value.what + caught.value.fix
    with pytest.raises(EngineError, match=r"no result in 0\.3 s"):
        list(stream_worker(ENGINE, python(LOOPS, tmp_path), timeout=0.3))
    with pytest.raises(EngineError, match="cannot start"):
        list(stream_worker(ENGINE, Command((str(tmp_path / "nothing"),))))


def test_a_worker_that_is_no_longer_listened_to_is_killed(tmp_path: Path) -> None:
    code = f"import os; print(os.getpid(), flush=True); {LOOPS}"
    documents = stream_worker(ENGINE, python(code, tmp_path))
    pid = next(documents)
    assert is_alive(pid)
    documents.close()
    assert not is_alive(pid)


def test_an_interrupt_while_a_worker_is_read_kills_it(tmp_path: Path) -> None:
    code = f"""
import os, signal, time
print(os.getpid(), flush=True)
while not os.path.exists("go on"):
    time.sleep(0.01)
os.kill({os.getpid()}, signal.SIGINT)
time.sleep(600)
"""
    pids = []
    with pytest.raises(KeyboardInterrupt):
        for pid in stream_worker(ENGINE, python(code, tmp_path)):
            pids.append(pid)
            (tmp_path / "go on").touch()
    assert len(pids) == 1
    assert not is_alive(pids[0])
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
