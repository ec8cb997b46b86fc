"""Trials on a Slurm cluster: those that begin together are the jobs of one array, one trial a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rlguide.engine.find import Engine
from rlguide.engine.running import held
from rlguide.errors import RlguideError
from rlguide.launchers.slurm import JobSpec, submit_array
from rlguide.launchers.slurm.client import check_has
from rlguide.launchers.slurm.states import OVER, forget
from rlguide.recipes.prepare import prepare
from rlguide.runs.record import Run
from rlguide.runs.slurm.gpus import job_gpus
from rlguide.runs.slurm.submit import job_script, launch_in_slurm, resume_options
from rlguide.runs.training.begin import begin, write_inputs
from rlguide.runs.training.options import RunOptions
from rlguide.sweeps.sweep import Sweep, folder_of
from rlguide.sweeps.trials import run_name, run_of
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class InSlurm:
    """The jobs of trials.

    Attributes:
        main: the engine that rlguide was told to use.
        spec: what each job asks for.
        at_once: jobs of an array that run at the same time.
        said: keys that the person has said and no record keeps (`trust_remote_code`).
    """

    main: Engine
    spec: JobSpec
    at_once: int
    said: Mapping[str, Any]


def submit_trials(ws: Workspace, sweep: Sweep, points: Mapping[int, Mapping[str, Any]], how: InSlurm) -> None:
    """Write the folder of each trial, as `train --slurm` does, and submit all of them as one array.

    Args:
        points: the settings of the trials, by number.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: a trial cannot be prepared any more.
        SlurmError: Slurm refuses the array; the trials are resumed as any others.
    """
    check_has()
    launch = launch_in_slurm(how.spec)
    gpus = job_gpus(how.spec).each
    options = RunOptions(launch=launch)
    runs: list[Run] = []
    commands: list[Sequence[str]] = []
    for number, point in points.items():
        name = run_name(sweep, number)
        settings = {**sweep.train.settings, **how.said, **point}
        prepared = prepare(ws, how.main, replace(sweep.train, settings=settings, output_dir=name), False, gpus)
        words = resume_options(ws, ws.root / name, prepared.config, options)
        commands += job_script(ws, name, launch, how.main, words).commands
        with held(ws.root / name, name):
            runs.append(begin(ws, prepared.engine, prepared, options, None))
            write_inputs(ws, runs[-1], prepared)
    try:
        job = submit_array(folder_of(ws, sweep.name), f"sweep {sweep.name}", commands, how.spec, ws.root, how.at_once)
    except RlguideError as error:
        for run in runs:
            run.over("interrupted", failure={"what": error.what, "exit_code": 1})
        raise
    for place, run in enumerate(runs):  # at once: the first jobs may have begun, and look for their id
        run.update(launch=replace(launch, handle={"job": f"{job}_{place}"}).as_dict())
        forget(f"{job}_{place}")


def job_failure(ws: Workspace, sweep: Sweep, number: int) -> str:
    """What Slurm says of the job of a trial that it ended; "" where that is no failure, or there is no job."""
    run = run_of(ws, sweep, number)
    job = run.slurm_job if run is not None else None
    if job is None or job.phase != OVER or job.name in ("", "COMPLETED", "CANCELLED"):
        return ""
    return job.words
