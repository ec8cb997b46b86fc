"""Train a run in its Slurm job: save before the job ends, and go on in the next one."""

from __future__ import annotations

import time
from dataclasses import replace

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.launchers.launch import SLURM
from rlguide.launchers.slurm import client
from rlguide.launchers.slurm.client import SlurmError
from rlguide.launchers.slurm.inside import Ending, ending_noted, own_job, restarts
from rlguide.launchers.slurm.states import OVER, job_of, job_state
from rlguide.runs.checkpoints import last_checkpoint, step_of
from rlguide.runs.record import Run, read_run
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.train import resume
from rlguide.workspace import Workspace

_PATIENCE = 15.0  # seconds in which the one who submitted the job writes its id into the record


def is_inside(run: Run) -> bool:
    """Whether this process runs in a job that is to train the run."""
    return run.launch.launcher == SLURM and own_job() != ""


def train_inside(ws: Workspace, engine: Engine, run: Run, options: RunOptions) -> Run:
    """Train a run as far as this job goes; put the job back into the queue where its time limit ends it.

    A failure is not put back: it would fail again.

    Raises:
        UsageError: the run is that of another job. KeyboardInterrupt: this job ends before the training.
        EngineError, CheckpointError: as `runs.training.train.resume`.
    """
    job = own_job()
    run = _of_this_job(ws, run, job)
    say(f"Slurm job {job}, started {restarts() + 1} times" if restarts() else f"Slurm job {job}")
    before = _step(run)
    with ending_noted(job) as ending:
        try:
            return resume(ws, engine, run, replace(options, ending=ending))
        except KeyboardInterrupt:
            if ending.is_coming:
                _go_on_later(run, ending, before)
            raise


def _go_on_later(run: Run, ending: Ending, before: int) -> None:
    """Put this job back into the queue, if its time limit ends it and it got further."""
    if not ending.wants_requeue():
        say("Slurm ended this job before its time limit: whether it starts again, Slurm decides")
        return
    after = _step(run)
    if after <= before:
        say(
            f"nothing was saved in this job, which began at step {before}: only Slurm itself, after a preemption, puts"
            " it back into the queue\n  fix: if its time limit ended it, give it more time (--slurm time=...), or save"
            " more often (--set save_steps=...)"
        )
        return
    try:
        client.requeue(ending.job)
    except SlurmError as error:  # also where Slurm has put it back already
        say(f"job {ending.job} was not put back into the queue: {error.what}")
        return
    say(f"job {ending.job} is back in the queue: it goes on from step {after}")


def _step(run: Run) -> int:
    checkpoint = last_checkpoint(run.path)
    return 0 if checkpoint is None else step_of(checkpoint)


def _of_this_job(ws: Workspace, run: Run, job: str) -> Run:
    """The run, with this job in its record: also that of a script that was submitted by hand.

    Raises:
        UsageError: another job has it.
    """
    deadline = time.monotonic() + _PATIENCE
    while (named := job_of(run.launch.handle)) != job and time.monotonic() < deadline:
        if named and job_state(named).phase == OVER:
            break
        time.sleep(0.5)
        run = read_run(ws, run.path)
    if named != job:
        if named and job_state(named).phase != OVER:
            raise UsageError(f"{run.name} is that of Slurm job {named}", f"end that one first: `scancel {named}`")
        run.update(launch=replace(run.launch, handle={"job": job}).as_dict())
    return run
