"""In a job: what is started on its nodes, and what is made of its end."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from rlguide.engine.job import Command
from rlguide.errors import RlguideError
from rlguide.launchers.launch import SLURM, Launch, in_effect, started
from rlguide.launchers.slurm import inside
from rlguide.launchers.slurm.inside import ending_noted, node_addresses, own_job

COMMAND = Command(("python", "train.py", "/工作 space/config.yaml"), Path("/工作 space"), variables={"A": "b"})
TWO = Launch(SLURM, nodes=2, nproc=4)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a job of two nodes, and a folder for Slurm's commands."""
    values = {"SLURM_JOB_ID": "70012", "RLGUIDE_SLURM": "1", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "6"}
    for name, value in {**values, "SLURM_RESTART_COUNT": "3", "SLURM_JOB_NODELIST": "n[1-2]"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    say(tmp_path, "scontrol", "exit 1")
    return tmp_path


def say(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


NODES = """case "$2" in
hostnames) echo n1; echo n2 ;;
node) echo "NodeName=n2 Arch=x NodeAddr=10.9.8.7 State=IDLE"; echo "NodeName=n1 NodeAddr=127.0.1.1 State=IDLE" ;;
esac"""


def test_one_command_starts_all_nodes(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "_own_towards", lambda other: f"way to {other}")
    say(job, "scontrol", NODES)
    made = started(TWO, COMMAND, Path("/工作 space/saves/run"))
    assert made.arguments[0] == "srun" and made.arguments[-3:] == COMMAND.arguments
    options = " ".join(made.arguments[1:-3])
    for wanted in ("--nodes 2", "--ntasks-per-node 1", "--kill-on-bad-exit=1", "--cpus-per-task 6", "--export ALL"):
        assert wanted in options
    # The first node, which its own /etc/hosts calls 127.0.1.1, goes by the address that others reach.
    assert made.variables == {
        "A": "b",
        "FORCE_TORCHRUN": "1",
        "NNODES": "2",
        "NPROC_PER_NODE": "4",
        "RDZV_ID": "slurm-70012-3",
        "MASTER_PORT": "20012",
        "MASTER_ADDR": "way to 10.9.8.7",
        "RLGUIDE_NODE_ADDRESSES": "way to 10.9.8.7,10.9.8.7",
    }


@pytest.mark.parametrize("answer", ["exit 1", "printf 'n1 \\377'", NODES.replace("10.9.8.7", "no.invalid")])
def test_addresses_that_are_not_found_out_are_none(job: Path, answer: str) -> None:
    say(job, "scontrol", answer)
    assert node_addresses("n[1-2]") == []


def test_one_node_is_started_as_ever(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_NUM_NODES", "1")
    assert started(Launch(SLURM), COMMAND, Path("/run")) == COMMAND


def test_a_job_of_another_size_is_refused(job: Path) -> None:
    with pytest.raises(RlguideError, match="has 2 nodes, and the training was prepared for 3"):
        started(Launch(SLURM, nodes=3), COMMAND, Path("/run"))


@pytest.mark.parametrize("missing", ["RLGUIDE_SLURM", "SLURM_JOB_ID"])
def test_outside_of_a_job_nothing_is_started(job: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(missing)  # as in the shell of salloc
    assert own_job() == ""
    with pytest.raises(RlguideError):
        started(TWO, COMMAND, Path("/run"))


def test_the_signal_before_the_limit_is_noted_and_the_job_requeued(job: Path) -> None:
    say(job, "squeue", f"echo {datetime.fromtimestamp(time.time() + 600).isoformat(timespec='seconds')}")
    with ending_noted("7") as ending:
        assert not ending.is_coming and not ending.is_late
        signal.raise_signal(signal.SIGUSR1)
        assert ending.is_coming and not ending.is_late and ending.wants_requeue()
        signal.raise_signal(signal.SIGTERM)  # which comes with the end of the job: the first one counts
        assert ending.signal == signal.SIGUSR1
    say(job, "squeue", f"echo {datetime.fromtimestamp(time.time() + 10).isoformat(timespec='seconds')}")
    with ending_noted("7") as ending:
        signal.raise_signal(signal.SIGUSR1)
        _ = ending.is_late  # from this look on
        time.sleep(0.01)
        assert ending.is_late


@pytest.mark.parametrize(
    ("answer", "requeues"),
    [("JobState=COMPLETING Reason=TimeLimit Dep", True), ("JobState=COMPLETING Reason=None", False), ("", False)],
)
def test_an_end_without_warning_is_requeued_if_the_limit_made_it(job: Path, answer: str, requeues: bool) -> None:
    say(job, "scontrol", f"echo '{answer}'")
    with ending_noted("7") as ending:
        signal.raise_signal(signal.SIGTERM)
        assert ending.wants_requeue() is requeues


def test_what_is_in_effect_of_a_job(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NNODES", "NPROC_PER_NODE", "FORCE_TORCHRUN"):
        monkeypatch.delenv(name, raising=False)
    with in_effect(TWO):
        assert (os.environ["NNODES"], os.environ["NPROC_PER_NODE"]) == ("2", "4")
