"""The lock of a shared file, between real processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlguide.locks import Locked, locked
from rlguide.workspace import read_json, write_json

PROCESSES, TIMES = 6, 60

# Adds to a number in a file, many times, in a way that only somebody who is alone may do it.
ADD = """
import os, random, sys, time
from pathlib import Path
from rlguide.locks import locked

shared, times, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
for _ in range(times):
    with locked(shared):
        alone = os.open(shared.with_suffix(".alone"), os.O_CREAT | os.O_EXCL)
        number = int(shared.read_text())
        time.sleep(chance.choice([0, 0, 0.001]))
        shared.write_text(str(number + 1))
        os.close(alone)
        shared.with_suffix(".alone").unlink()
"""

HOLD = """
import sys, time
from pathlib import Path
from rlguide.locks import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_one_holds_a_lock_at_a_time_and_no_file_stays(tmp_path: Path) -> None:
    """The lock's file is deleted at each release: nobody may hold "the" lock on a file that has lost its name."""
    shared = tmp_path / "my 数据.json"
    shared.write_text("0")
    started = [start(ADD, shared, TIMES, seed) for seed in range(PROCESSES)]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert errors == [""] * PROCESSES
    assert int(shared.read_text()) == PROCESSES * TIMES
    assert [path.name for path in tmp_path.iterdir()] == [shared.name]


def test_the_lock_of_a_killed_process_is_free_and_cleared_away(tmp_path: Path) -> None:
    shared = tmp_path / "x"
    for _ in range(5):
        holder = start(HOLD, shared)
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(Locked, match="locked by another"), locked(shared, timeout=0):
            pass
        assert (tmp_path / ".x.lock").exists(), "who does not get the lock leaves it alone"
        waiting = start(ADD.replace("shared.read_text()", "0"), shared, 1, 0)
        time.sleep(random.uniform(0, 0.3))
        os.kill(holder.pid, signal.SIGKILL)
        assert waiting.communicate(timeout=60)[1] == ""
        holder.communicate()
        assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    with pytest.raises(ValueError), locked(tmp_path / "new folder" / "x"):
        raise ValueError
    with locked(tmp_path / "new folder" / "x", timeout=0):
        pass
    assert list((tmp_path / "new folder").iterdir()) == []


def test_half_a_surrogate_pair_is_written_as_it_was_read(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('{"a\\ud800": "\\udc00 \\ud83d\\ude00 中"}')
    value = read_json(path)
    write_json(path, value)
    assert read_json(path) == value and "中" in path.read_text(encoding="utf-8")
