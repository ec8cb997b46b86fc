"""Real processes: their output is read whole, and nothing of their group is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import EngineProcess, group_alive, is_alive
from rlguide.errors import EngineError

# A leader that ignores SIGINT and starts a child that ignores it too, as torchrun with its workers.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ready", flush=True)
time.sleep(600)
"""


def start(tmp_path: Path, code: str) -> EngineProcess:
    return EngineProcess([sys.executable, "-c", code], tmp_path, dict(os.environ), tmp_path / "日志 folder" / "log")


def test_lines_are_whole_and_in_order(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfor i in range(50):\n print(i, end='\\r' if i % 2 else '\\n', flush=True); time.sleep(.002)"
    )
    with start(tmp_path, code) as process:
        lines = [line for line in process.lines(poll=0.01) if line is not None]
    assert lines == [str(number) for number in range(50)]
    assert process.returncode == 0


def test_last_line_without_newline_and_stderr(tmp_path: Path) -> None:
    with start(tmp_path, "import sys; sys.stderr.write('错误 at the end')") as process:
        assert [line for line in process.lines() if line] == ["错误 at the end"]


def test_the_end_is_noticed_before_the_next_poll(tmp_path: Path) -> None:
    started = time.monotonic()
    with start(tmp_path, "import time; time.sleep(0.3)") as process:
        list(process.lines(poll=60))
    assert time.monotonic() - started < 30


def test_group_is_ended_whatever_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    monkeypatch.setattr(
        "rlguide.engine.process._GRACE", ((signal.SIGINT, 0.3), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
    )
    with pytest.raises(RuntimeError), start(tmp_path, STUBBORN) as process:
        for line in process.lines(poll=0.01):
            if line == "ready":
                raise RuntimeError
    assert not group_alive(process.pid)
    assert not is_alive(process.pid)


def test_group_outlives_its_leader_no_longer_than_us(tmp_path: Path) -> None:
    """A leader that dies at once and leaves a worker: torchrun killed with -9."""
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    with start(tmp_path, code) as process:
        list(process.lines(poll=0.01))
        deadline = time.monotonic() + 5
        while not group_alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert group_alive(process.pid)
    assert not group_alive(process.pid)


def test_missing_program(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot start"):
        EngineProcess([str(tmp_path / "nothing")], tmp_path, {}, tmp_path / "log")


def test_an_interrupt_at_the_start_of_a_process_waits_until_it_can_be_stopped() -> None:
    reached = []
    with pytest.raises(KeyboardInterrupt):
        with interrupts_held():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("the end of the block")
        reached.append("behind it")
    assert reached == ["the end of the block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
