"""What `train --slurm` does beside training: prepare for the GPUs of a job, show its script, submit it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.launchers.launch import Launch
    from rlguide.launchers.slurm.script import Script
    from rlguide.planner.plan import Plan
    from rlguide.recipes.prepare import Prepared
    from rlguide.runs.record import Run
    from rlguide.runs.slurm.gpus import JobGpus
    from rlguide.runs.training.options import RunOptions
    from rlguide.workspace import Workspace

SlurmOption = Annotated[
    str | None,
    typer.Option(
        "--slurm",
        metavar="KEY=VALUE,...",
        help="Submit it as a Slurm job, e.g. partition=gpu,nodes=2,gpus=4,time=12:00:00; it is saved before the time"
        " limit and resumed after it (docs/scale.md).",
    ),
]


def slurm_launch(text: str, nproc: int | None) -> Launch:
    """How a training is launched in the job that `--slurm` asks for. Raises UsageError as `parse_spec`."""
    from rlguide.launchers.slurm.spec import parse_spec
    from rlguide.runs.slurm.submit import launch_in_slurm

    return launch_in_slurm(parse_spec(text), nproc)


def gpus_of_job(launch: Launch) -> JobGpus:
    """The GPUs that each node of the job has; says what is assumed of them (stderr)."""
    from rlguide.console import say
    from rlguide.launchers.slurm.spec import read_spec
    from rlguide.runs.slurm.gpus import job_gpus

    found = job_gpus(read_spec(launch.settings))
    if found.assumed:
        say(f"note: {found.assumed}")
    return found


def show_need_in_job(ws: Workspace, prepared: Prepared, gpus: JobGpus, plain: bool, force: bool) -> Plan | None:
    """As `show_need`, on the GPUs of the job; None where they are not known."""
    from rlguide.cli._training import show_need

    return None if gpus.kind is None else show_need(ws, prepared, gpus.kind, plain, force)


def submit_run(
    ws: Workspace, main: Engine, prepared: Prepared, options: RunOptions, plan: Plan | None, dry_run: bool
) -> Run | None:
    """Submit the job of a prepared training; a dry run prints its script, and is None."""
    from rlguide.runs.slurm.submit import job_script, resume_options, submit

    if dry_run:
        words = resume_options(ws, ws.root / prepared.output_dir, prepared.config, options)
        _show_script(ws, job_script(ws, prepared.output_dir, options.launch, main, words), prepared.output_dir)
        return None
    return submit(ws, main, prepared, options, plan)


def submit_resumed(
    ws: Workspace, main: Engine, run: Run, options: RunOptions, text: str | None, dry_run: bool
) -> Run | None:
    """Submit another job for a run. `text`: what it asks for, as the last one by default; else as `submit_run`."""
    from rlguide.launchers.slurm.spec import parse_spec
    from rlguide.runs.slurm.submit import job_script, resume_options, submit_again

    if dry_run:
        words = resume_options(ws, run.path, run.config, options)
        launch = run.launch if text is None else slurm_launch(text, run.launch.nproc)
        _show_script(ws, job_script(ws, run.name, launch, main, words), run.name)
        return None
    return submit_again(ws, main, run, None if text is None else parse_spec(text), options)


def _show_script(ws: Workspace, script: Script, name: str) -> None:
    from rlguide.console import say, show
    from rlguide.runs.slurm.submit import SCRIPT

    show(script.text.rstrip("\n"))
    say(f"would write this to {name}/{SCRIPT} in {ws.root}, and submit it with sbatch")


def show_submitted(run: Run, as_json: bool) -> None:
    """Say which job trains it, and what to type next."""
    from rlguide.console import say, show, show_json
    from rlguide.runs.slurm.submit import document, next_lines

    found = document(run)
    if as_json:
        show_json(found)
    else:
        show(f"{run.name}: Slurm job {found['job']} ({found['script']})")
    say(f"next: {'    then: '.join(next_lines(run))}")
