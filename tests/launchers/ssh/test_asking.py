"""Hosts that are asked at once: what they say, what is left of those that do not answer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from rlguide.launchers.ssh.asked import Asked, launch_for
from rlguide.launchers.ssh.asking import ask_all
from rlguide.launchers.ssh.client import LOST
from tests.launchers.ssh.conftest import Hosts


def test_answers_come_in_the_order_of_the_questions() -> None:
    slow, quick = "sleep 0.3; cat; echo slow >&2; exit 3", "cat"
    first, second, third = ask_all([["sh", "-c", slow], ["sh", "-c", quick], ["/no program"]], b"asked", 30)
    assert (first.out, first.code, first.said) == (b"asked", 3, "slow")
    assert (second.out, second.code) == (b"asked", 0)
    assert (third.code, third.said) == (LOST, "cannot start /no program: No such file or directory")


def test_nothing_is_left_of_what_does_not_answer(tmp_path: Path) -> None:
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    (answer,) = ask_all([[sys.executable, "-c", code, str(tmp_path / "pid")]], b"", 3)
    assert (answer.code, answer.said) == (LOST, "no answer within 3 s")
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_ctrl_c_waits_for_no_host(hosts: Hosts) -> None:
    hosts.tell("two", hangs=True)
    pid = hosts.folder / "two.pid"

    def interrupt() -> None:
        while not (pid.exists() and pid.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        launch_for(Asked("one,two"))
    assert time.monotonic() - start < 20
    assert not Path("/proc", pid.read_text()).exists()
