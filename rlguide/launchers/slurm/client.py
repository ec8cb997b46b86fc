"""Slurm's own commands, each with a time limit; what they print is data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

from rlguide.console import printable
from rlguide.errors import RlguideError
from rlguide.launchers.slurm.script import Script
from rlguide.workspace import atomic_write

SECONDS = 20.0  # for a command of a person; a controller that is busy takes some
JOB_ID = re.compile(r"[0-9]{1,10}(?:_[0-9]{1,7})?")
_LONGEST = 4 << 20  # characters of an answer

# The variables by which a person's shell changes what Slurm's commands do. Those of squeue, sacct and scancel leave
# jobs out of a list, or ask before they end one. sbatch's own stand above what a script says (sbatch(1), INPUT
# ENVIRONMENT VARIABLES): by option of a script those that are put aside where it has that option.
_NEVER = ("SQUEUE_", "SACCT_", "SCANCEL_")
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS")
_OVERRIDDEN = {
    "job-name": ("JOB_NAME",),
    "output": ("OUTPUT", "ERROR"),
    "open-mode": ("OPEN_MODE",),
    "gpus-per-node": ("GPUS_PER_NODE", "GPUS", "GPUS_PER_TASK", "GRES"),
    "mem": ("MEM_PER_NODE", "MEM_PER_CPU", "MEM_PER_GPU"),
    "time": ("TIMELIMIT",),
    "signal": ("SIGNAL",),
    "requeue": ("REQUEUE", "NO_REQUEUE"),
    **{name: (name.upper(),) for name in ("partition", "account", "qos", "constraint", "reservation")},
}
_NO_JOB_OF_OURS = ("ARRAY_INX", "WAIT")  # the script says what is an array, and no job is waited for


class SlurmError(RlguideError):
    """Slurm is not here, does not answer, or refuses what it is asked for."""


def check_has(name: str = "sbatch") -> None:
    """Refuse to go on without one of Slurm's commands. Raises SlurmError."""
    if shutil.which(name) is None:
        raise SlurmError(
            f"{name} is not on PATH: Slurm is not installed here", "run this on a login node of the cluster"
        )


def ask(command: Sequence[str], seconds: float = SECONDS, without: Collection[str] = ()) -> str:
    """What one of Slurm's commands prints.

    Args:
        without: variables of the environment that it is not to see.

    Raises:
        SlurmError: it is not here, failed or did not answer; the message holds its own words.
    """
    name = command[0]
    check_has(name)
    try:
        done = subprocess.run(
            command, env=_environment(without), stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{name} did not answer within {seconds:g} s", "look at `sinfo`, then try again") from None
    except OSError as error:
        raise SlurmError(f"cannot start {name}: {error.strerror or error}", "look at `sinfo`") from error
    if done.returncode != 0:
        words = printable(done.stderr.decode("utf-8", "replace")).strip().splitlines()
        said = re.sub(rf"^{name}: (?:error|fatal): ", "", words[-1] if words else f"exit code {done.returncode}")
        every = " ".join(words)
        if "configuration source" in every or "Unable to contact slurm controller" in every:
            fix = "run this on a node of the cluster whose `sinfo` answers"
        else:
            fix = "`sinfo` lists partitions and nodes; correct --slurm"
        raise SlurmError(f"Slurm says: {said[:500]}", fix)
    return done.stdout.decode("utf-8", "replace")[:_LONGEST]


def _environment(without: Collection[str]) -> dict[str, str]:
    """This process's environment without what changes what is asked for.

    And without what tells of a job that it runs in: a job that it submits is no part of that.
    """
    left = {name: value for name, value in os.environ.items() if not name.startswith(_NEVER) and name not in without}
    return {name: value for name, value in left.items() if not name.startswith("SLURM_") or name in _KEPT}


def _overriding(script: Script) -> list[str]:
    """The variables that would have sbatch do something else than the script says."""
    names = [name for option in script.options for name in _OVERRIDDEN.get(option, ())]
    return [f"SBATCH_{name}" for name in (*names, *_NO_JOB_OF_OURS)]


def submit(path: Path, script: Script) -> str:
    """Write a script and give it to Slurm; returns the id of the job.

    Raises:
        SlurmError: Slurm refuses it. UsageError: a path that Slurm cannot be told.
    """
    with atomic_write(path) as file:
        file.write(script.text)
    # "12" or "12;cluster"
    said = ask(["sbatch", "--parsable", str(path)], without=_overriding(script)).strip().splitlines()
    job = said[-1].partition(";")[0].strip() if said else ""
    if not JOB_ID.fullmatch(job):
        raise SlurmError(f"sbatch did not say the id of the job, but {job[:80]!r}", "look at `squeue --me`")
    return job


def cancel(jobs: Sequence[str]) -> None:
    """End jobs, or jobs of an array ("12_3"). One that is over already is no error. Raises SlurmError."""
    known = [job for job in jobs if JOB_ID.fullmatch(job)]
    if known:
        ask(["scancel", *known])


def requeue(job: str) -> None:
    """Put a job back into the queue; it is ended first if it runs. Raises SlurmError."""
    ask(["scontrol", "requeue", job])
