"""The supervisor of a node: what it starts ends when nobody gives orders any more, and is never started twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import rlguide_worker.run_node as run_node

WORKER = Path(run_node.__file__)
# A leader that ends at once on SIGTERM, and a child in its group that does not.
STUBBORN = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(600)
time.sleep(600)
"""


class Supervisor:
    """One that runs, with orders by `tell`."""

    def __init__(self, folder: Path, *changes: str) -> None:
        self.folder = folder
        code = "; ".join((f"import sys; sys.path.insert(0, {str(WORKER.parent)!r}); import run_node", *changes))
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; run_node.main()"],
            env={**os.environ, "SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.hello = json.loads(self.process.stdout.readline().removeprefix("NODE "))

    def tell(self, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def start(self, *words: str, digest: str | None = None) -> None:
        config = self.folder / "config.yaml"
        config.write_text("a: 1")
        self.tell(
            arguments=[sys.executable, "-c", *words],
            folder=str(self.folder),
            variables={},
            config=[str(config), digest or sha256(config.read_bytes()).hexdigest()],
            lock=str(self.folder / "lock"),
        )

    def stubborn(self) -> int:
        """Start what does not end by itself; returns the process that ends last."""
        path = self.folder / "pid"
        path.unlink(missing_ok=True)
        self.start(STUBBORN, str(path))
        while not path.exists() or not path.read_text():
            assert self.process.poll() is None
            time.sleep(0.02)
        return int(path.read_text())


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_the_exit_code_is_that_of_the_training(tmp_path: Path) -> None:
    for words, code in (("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)):
        supervisor = Supervisor(tmp_path)
        assert supervisor.hello["address"] == "127.0.0.1"
        supervisor.start(words)
        assert supervisor.process.wait(30) == code


@pytest.mark.parametrize("how", ["stdin ends", "silence", "SIGTERM", "SIGHUP"])
def test_nothing_is_left_when_nobody_listens(tmp_path: Path, how: str) -> None:
    """All of the group ends, a process that ignores SIGTERM too."""
    quick = "run_node.GRACE = ((15, 0.3), (9, 5.0))"
    supervisor = Supervisor(tmp_path, quick, f"run_node.SILENCE = {2.0 if how == 'silence' else 60.0}")
    pid = supervisor.stubborn()
    if how == "stdin ends":
        assert supervisor.process.stdin is not None
        supervisor.process.stdin.close()
    elif how != "silence":
        supervisor.process.send_signal(getattr(signal, how))
    supervisor.process.wait(30)
    assert not runs(pid)


def test_a_signal_is_passed_on(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path)
    ready = tmp_path / "ready"
    supervisor.start(f"import time; open({str(ready)!r}, 'w').close(); time.sleep(600)")
    while not ready.exists():
        time.sleep(0.02)
    supervisor.tell(signal=int(signal.SIGTERM))
    assert supervisor.process.wait(30) == 128 + signal.SIGTERM


def test_what_an_earlier_attempt_left_ends_first(tmp_path: Path) -> None:
    """Its supervisor was killed, so that nothing ended it; it holds the lock."""
    first = Supervisor(tmp_path)
    pid = first.stubborn()
    first.process.kill()
    second = Supervisor(tmp_path, "run_node.LEFTOVERS = 0.5")
    second.start("")
    assert second.process.wait(30) == run_node.STILL_RUNS
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    third = Supervisor(tmp_path)
    third.start("")
    assert third.process.wait(30) == 0


def test_another_config_is_not_trained(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, "run_node.FRESH = 0.1")
    supervisor.start("open('started', 'w')", digest="0" * 64)
    assert supervisor.process.wait(30) == run_node.CONFIG_DIFFERS
    assert not (tmp_path / "started").exists()
