"""In a job: which job it is, how its training is started on all of its nodes, and the end of the job that is coming."""

from __future__ import annotations

import os
import platform
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rlguide.errors import RlguideError
from rlguide.launchers.slurm.client import JOB_ID, SlurmError, ask
from rlguide.launchers.slurm.script import IN_JOB

if TYPE_CHECKING:
    from rlguide.engine.job import Command
    from rlguide.launchers.launch import Launch

_ADDRESS = re.compile(r"^NodeName=(\S+) .*?\bNodeAddr=(\S+)", re.MULTILINE)  # scontrol(1), show node
_FIRST_PORT, _PORTS = 20000, 10000  # below those that systems hand out by themselves (Linux: from 32768)
_MARGIN = 25.0  # seconds before the limit that stopping the processes may take (engine.process)
_KILL_WAIT = 20.0  # after SIGTERM; Slurm kills after KillWait, which is 30 s by default (slurm.conf)


def own_job() -> str:
    """The id of the job, written by rlguide, that this process runs in; "" outside of one."""
    array, place = (os.environ.get(f"SLURM_ARRAY_{name}", "") for name in ("JOB_ID", "TASK_ID"))
    job = f"{array}_{place}" if array and place else os.environ.get("SLURM_JOB_ID", "")
    return job if os.environ.get(IN_JOB) and JOB_ID.fullmatch(job) else ""


def started(launch: Launch, command: Command, folder: Path) -> Command:
    """The command that trains on all nodes of the job; on one node the plain one.

    On several nodes srun starts one process on each, which starts torchrun with a rendezvous on the first node, the one
    that this process runs on.

    Raises:
        RlguideError: this is no job, or one with another number of nodes.
    """
    job = own_job()
    if not job:
        raise RlguideError(
            f"{folder.name} trains in a Slurm job, and this process runs in none", "submit its script with `sbatch`"
        )
    nodes = os.environ.get("SLURM_JOB_NUM_NODES", "1")
    if nodes != str(launch.nodes):
        raise RlguideError(
            f"job {job} has {nodes} nodes, and the training was prepared for {launch.nodes}",
            "submit it as it was prepared, or train anew with another --output-dir",
        )
    if launch.nodes == 1:
        return command
    options = ["--nodes", nodes, "--ntasks", nodes, "--ntasks-per-node", "1", "--kill-on-bad-exit=1"]
    options += ["--quit-on-interrupt", "--cpu-bind", "none"]
    options += ["--export", "ALL"]  # whatever a site or sbatch --export has set: the rendezvous is in the environment
    cores = os.environ.get("SLURM_CPUS_PER_TASK", "")
    options += ["--cpus-per-task", cores] if cores.isdecimal() else []  # since 22.05 srun does not take the job's
    port = _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID") or job.partition("_")[0]) % _PORTS
    found = node_addresses(os.environ.get("SLURM_JOB_NODELIST", ""))
    variables = {"RDZV_ID": f"slurm-{job}-{restarts()}", "MASTER_PORT": str(port)}
    variables |= {"MASTER_ADDR": found[0] if found else platform.node()}
    variables |= {"RLGUIDE_NODE_ADDRESSES": ",".join(found)} if found else {}
    return replace(
        command,
        arguments=("srun", *options, *command.arguments),
        variables={**command.variables, **launch.variables, **variables},
    )


def node_addresses(nodes: str) -> list[str]:
    """The addresses by which the nodes of this job reach each other, in Slurm's order, which begins with this host.

    [] where they are not found out: then the first goes by its name.

    Args:
        nodes: as Slurm lists them, such as "n[1-4]".
    """
    try:
        names = ask(["scontrol", "show", "hostnames", nodes]).split()
        told = dict(_ADDRESS.findall(ask(["scontrol", "show", "node", "--oneliner", nodes])))
        found = [socket.gethostbyname(told[name]) for name in names]
    except (SlurmError, KeyError, OSError, UnicodeError):
        return []
    others = [address for address in found[1:] if not address.startswith("127.")]
    if others and found[0].startswith("127."):  # /etc/hosts calls this host so, and no other can
        found[0] = _own_towards(others[0])
    return found


def _own_towards(other: str) -> str:
    """The address of this host on its way to another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((other, 9))
        return str(probe.getsockname()[0])


def restarts() -> int:
    """How often this job was put back into the queue and started again."""
    text = os.environ.get("SLURM_RESTART_COUNT", "0")
    return int(text) if text.isdecimal() and len(text) < 7 else 0


class Ending:
    """The end of this job that is coming: Slurm says so by SIGUSR1 before the time limit, by SIGTERM with the end.

    Attributes:
        signal: that came first; None so long as none did.
    """

    def __init__(self, job: str) -> None:
        self.job = job
        self.signal: int | None = None
        self._last: float | None = None

    @property
    def is_coming(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    @property
    def words(self) -> str:
        """What is coming, in words."""
        return "the time limit is near" if self.signal == signal.SIGUSR1 else "Slurm ends this job"

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler of the signals."""
        if self.signal is None:
            self.signal = number

    @property
    def is_late(self) -> bool:
        """Whether what is to be done before the end must not wait any longer."""
        if self.signal is None:
            return False
        if self._last is None:
            now = time.time()
            end = _limit(self.job) if self.signal == signal.SIGUSR1 else now + _KILL_WAIT
            self._last = max(now, end - _MARGIN) if self.signal == signal.SIGUSR1 else end
        return time.time() > self._last

    def wants_requeue(self) -> bool:
        """Whether the job is to be put back into the queue: it ends by its time limit, and not by anything else.

        A job that is preempted Slurm puts back itself; one that was cancelled is to end.
        """
        if self.signal == signal.SIGUSR1:
            return True
        with suppress(SlurmError):
            return re.search(r"\bReason=TimeLimit\b", ask(["scontrol", "show", "job", self.job])) is not None
        return False


def _limit(job: str) -> float:
    """When the job's time limit is, in seconds since the epoch; far away where Slurm does not say it."""
    with suppress(SlurmError, ValueError, OverflowError):
        return datetime.fromisoformat(ask(["squeue", "-h", "-o", "%e", "-j", job], 10.0).strip()).timestamp()
    return time.time() + 10**6


@contextmanager
def ending_noted(job: str) -> Iterator[Ending]:
    """In the block, SIGUSR1 and SIGTERM are noted, and end nothing by themselves."""
    ending = Ending(job)
    numbers = (signal.SIGUSR1, signal.SIGTERM)
    before: dict[int, Any] = {number: signal.signal(number, ending.note) for number in numbers}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
