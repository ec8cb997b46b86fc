"""A Slurm cluster of two nodes on this machine, with folders, ports and a munge of its own."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.runs import wait_until

_NEEDS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue", "scancel")
# cred_expire: seconds before a job that was requeued may start (120 by default). PartitionName "main" has both nodes.
_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=2
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=5
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=4 RealMemory=1000
PartitionName=main Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverTimeLimit=0
"""


def why_none() -> str:
    """Why no cluster can be started here; "" if one can."""
    missing = [name for name in _NEEDS if shutil.which(name) is None]
    if missing:
        return f"Slurm is not installed: no {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "Slurm's daemons are started by root only"


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `variables` are what its commands need."""

    folder: Path

    @property
    def variables(self) -> dict[str, str]:
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(command, env={**os.environ, **self.variables}, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def state(self, job: str) -> str:
        """Slurm's name of a job's state."""
        return self.ask("squeue", "-h", "-r", "-t", "all", "-o", "%T", "-j", f"{job},67108863").strip()

    def jobs(self, job: str) -> str:
        """All that Slurm knows of a job."""
        return self.ask("scontrol", "show", "job", job)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Start one, and end all of its processes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))  # a socket's path is short
        (folder / "state").mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o600)
        conf = folder / "slurm.conf"
        conf.write_text(_CONF.format(host=platform.node().partition(".")[0], ports=_ports(), folder=folder))
        found = Cluster(folder)
        stack.callback(_stop, found)
        names = {"socket": "sock", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        _start("munged", "--force", *(f"--{option}={folder}/munge.{ending}" for option, ending in names.items()))
        _start("slurmctld", "-f", str(conf), **found.variables)
        for node in ("n1", "n2"):
            _start("slurmd", "-f", str(conf), "-N", node, **found.variables)
        wait_until(lambda: found.ask("sinfo", "-h", "-N", "-o", "%T").split() == ["idle", "idle"], seconds=30)
        yield found


def _start(*command: str, **variables: str) -> None:
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _ports() -> list[int]:
    """Three ports that are free, the last two of which follow each other: below those that the system gives."""
    for first in range(21000 + os.getpid() % 5000, 32000, 7):
        wanted = [first, first + 1, first + 2]
        if all(_is_free(port) for port in wanted):
            return wanted
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _stop(found: Cluster) -> None:
    with suppress(AssertionError, subprocess.SubprocessError):
        found.ask("scancel", "--user=root")
        wait_until(lambda: not found.ask("squeue", "-h"), seconds=20)
    pids = []
    for name in ("slurmd-n1", "slurmd-n2", "slurmctld", "munge"):
        with suppress(OSError, ValueError):
            pids.append(int((found.folder / f"{name}.pid").read_text()))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + 10
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = [pid for pid in pids if Path(f"/proc/{pid}").exists()]
