"""What Slurm says of jobs: read whatever it prints, asked for once, and never a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.launchers.slurm import states
from rlguide.launchers.slurm.states import (
    OVER,
    RUNNING,
    UNKNOWN,
    WAITING,
    JobState,
    job_states,
    read_sacct,
    read_squeue,
)

SQUEUE = """\
7|PENDING||Resources|/data
8_3|RUNNING|n[1-2]|None|/data/工作 space|1
9|COMPLETED|n1|None|/data
x|y
10|PENDING|n1|ReqNodeNotAvail, UnavailableNodes:n3|/data
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of commands that is alone on PATH; `calls` in it counts what is asked."""
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    return tmp_path


def command(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {name} \"$@\" >>'{folder}/calls'\n{body}\n")
    path.chmod(0o755)


def test_phases() -> None:
    found = read_squeue(SQUEUE)
    assert {job: state.phase for job, state in found.items()} == {
        "7": WAITING,
        "8_3": RUNNING,
        "9": OVER,
        "10": WAITING,
    }
    assert found["7"].words == "waits in Slurm's queue as job 7 (Resources)"
    assert found["8_3"].words == "is Slurm job 8_3 on n[1-2]"
    assert found["10"].reason == "ReqNodeNotAvail, UnavailableNodes:n3"
    assert found["8_3"].folder == "/data/工作 space|1"
    assert read_sacct("9|CANCELLED by 1000|n1\n11|TIMEOUT|n2\n|||\n")["9"].name == "CANCELLED"


@given(st.text())
def test_whatever_is_printed(text: str) -> None:
    for state in (*read_squeue(text).values(), *read_sacct(text).values()):
        assert state.words.isprintable()


def test_all_in_one_question(slurm: Path) -> None:
    command(slurm, "squeue", "printf '7|PENDING||Priority|/w\\n8|RUNNING|n1|None|/w\\n'")
    command(slurm, "sacct", "printf '9|TIMEOUT|n2\\n'")
    found = job_states(["7", "8", "9", "10", "no id", "7"])
    assert found == {
        "7": JobState("7", WAITING, "PENDING", "", "Priority", "/w"),
        "8": JobState("8", RUNNING, "RUNNING", "n1", "None", "/w"),
        "9": JobState("9", OVER, "TIMEOUT", "n2"),
        "10": JobState("10", OVER),
    }
    calls = (slurm / "calls").read_text().splitlines()
    assert [line.split()[0] for line in calls] == ["squeue", "sacct"]
    assert calls[0].endswith("-j 7,8,9,10")
    assert calls[1].endswith("-j 9,10")
    assert found["9"].words == "its Slurm job 9 was killed at its time limit"
    assert found["10"].words == "Slurm does not know its job 10 any more"


@pytest.mark.parametrize("body", ["exit 1", "exec sleep 60"])
def test_slurm_that_does_not_answer_is_said_not_raised(slurm: Path, body: str) -> None:
    command(slurm, "squeue", body)
    assert job_states(["7"], seconds=0.3) == {"7": JobState("7", UNKNOWN)}


def test_no_slurm_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert job_states(["7"])["7"].phase == UNKNOWN


def test_a_listing_asks_once_for_a_while(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "_asked", {})
    command(slurm, "squeue", "printf '7|PENDING||Priority|/w\\n8|RUNNING|n1|None|/w\\n'")
    states.ask_ahead(["7", "8"])
    assert (states.job_state("7").phase, states.job_state("8").phase) == (WAITING, RUNNING)
    assert len((slurm / "calls").read_text().splitlines()) == 1
    states.forget("7")
    states.job_state("7")
    assert len((slurm / "calls").read_text().splitlines()) == 2
