"""Take a run back from Slurm: its training saves first, if it can, and the job ends."""

from __future__ import annotations

import shlex
import time

from rlguide.console import say
from rlguide.errors import RlguideError
from rlguide.launchers.slurm import client
from rlguide.launchers.slurm.states import OVER, UNKNOWN, WAITING, forget, job_states
from rlguide.runs.diagnosis.stopping import ask_to_stop
from rlguide.runs.record import Run, read_run
from rlguide.workspace import Workspace

_SAVING = 60.0  # seconds for a step and its checkpoint
_ENDING = 60.0  # for Slurm to end the job: KillWait and the epilog
_POLL = 0.5


def stop_job(ws: Workspace, run: Run) -> Run:
    """End the job of a run, after its training has saved the step that it is at; returns the run as it stands then.

    Raises:
        SlurmError: Slurm does not answer. RlguideError: the job does not end.
    """
    job = run.slurm_job
    assert job is not None  # its status says so
    if job.phase == UNKNOWN:
        raise RlguideError(f"{run.name} {job.words}", f"try again; by hand: `scancel {job.job}`")
    if job.phase != WAITING and run.record.status == "running":
        say(f"asking it to save after this step (for at most {_SAVING:.0f} s)")
        ask_to_stop(run)
        run = _wait(ws, run, job.job)
    client.cancel([job.job])
    deadline = time.monotonic() + _ENDING
    while job_states([job.job])[job.job].phase != OVER:
        if time.monotonic() > deadline:
            raise RlguideError(
                f"Slurm job {job.job} did not end within {_ENDING:.0f} s",
                f"look at `squeue -j {job.job}`, then run `rlguide stop {shlex.quote(run.name)}` again",
            )
        time.sleep(_POLL)
    forget(job.job)
    return read_run(ws, run.path)


def _wait(ws: Workspace, run: Run, job: str) -> Run:
    """Until its rlguide has written how it ended, or the job is over."""
    deadline = time.monotonic() + _SAVING
    while run.record.is_open and time.monotonic() < deadline:
        if job_states([job])[job].phase == OVER:
            break
        time.sleep(_POLL)
        run = read_run(ws, run.path)
    return run
