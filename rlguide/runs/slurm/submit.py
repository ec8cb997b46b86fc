"""Hand a run in as a Slurm job: its folder with record, config and script; the job trains it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.engine.config_file import format_value
from rlguide.engine.find import Engine
from rlguide.engine.process import own_python
from rlguide.engine.running import held
from rlguide.errors import RlguideError, UsageError
from rlguide.launchers.launch import SLURM, Launch
from rlguide.launchers.slurm import client
from rlguide.launchers.slurm.script import Script
from rlguide.launchers.slurm.spec import JobSpec, read_spec
from rlguide.launchers.slurm.states import forget
from rlguide.recipes.checks import names_secret
from rlguide.recipes.outward import outward_keys
from rlguide.runs.authority import TRUST, check_links
from rlguide.runs.record import Run, read_run
from rlguide.runs.training.begin import begin, write_inputs
from rlguide.runs.training.options import RunOptions
from rlguide.workspace import Workspace

if TYPE_CHECKING:
    from rlguide.planner.plan import Plan
    from rlguide.recipes.prepare import Prepared

SCRIPT = "job.sbatch"
LOG = "slurm-%j.log"  # what the job's own rlguide prints; the engine's output is in engine.log as ever


def launch_in_slurm(spec: JobSpec, nproc: int | None = None) -> Launch:
    """How a training is launched in such a job: one process on each of its GPUs, unless `nproc` says otherwise."""
    each = nproc or (spec.gpu_count if spec.gpu_count > 1 else 1 if spec.nodes > 1 else None)
    return Launch(launcher=SLURM, nodes=spec.nodes, nproc=each, settings=spec.as_dict())


def job_script(ws: Workspace, name: str, launch: Launch, engine: Engine, options: Sequence[str]) -> Script:
    """The script that trains the run of this name to its end, over as many jobs as the time limit makes of it.

    Args:
        engine: that rlguide was told to use.
        options: of `rlguide train --resume`, beside the run.
    """
    words = ["train", "--resume", name, "--workspace", str(ws.root), "--engine", str(engine.python), *options]
    command = own_python("rlguide", *words)
    about = [
        f"The training {name}, written by rlguide. Submit it by hand with: sbatch {shlex.quote(f'{name}/{SCRIPT}')}",
        "Its first job begins the training, a later one goes on from the last complete checkpoint.",
    ]
    folder = ws.root / name
    return Script(name, [command], ws.root, folder / LOG, read_spec(launch.settings), about=about)


def resume_options(ws: Workspace, folder: Path, config: Mapping[str, Any], options: RunOptions) -> list[str]:
    """The options of `rlguide train --resume` by which a job trains a config in this folder as `options` say.

    What the record of a run may not decide (`runs.authority`) the person who submits the job has said: it is repeated.
    """
    found = ["--plain"] * options.is_plain + ["--auto-retry"] * options.auto_retry
    found += ["--trust-remote-code"] * bool(config.get(TRUST))
    for key in outward_keys(ws.root, folder, dict(config)):
        if not names_secret(key):
            found += ["--set", f"{key}={format_value(config[key])}"]
    return [*found, "--stop-on", ",".join(options.stop_on) or "none"]


def submit(ws: Workspace, main: Engine, prepared: Prepared, options: RunOptions, plan: Plan | None) -> Run:
    """Write the run's folder and submit its job; nothing is trained here.

    Args:
        main: the engine that rlguide was told to use; the job finds the one of the method by it.

    Raises:
        UsageError: something trains in that folder, or its path is none for Slurm. SlurmError: Slurm refuses the job.
    """
    folder = ws.root / prepared.output_dir
    check_links(folder, prepared.output_dir)
    words = resume_options(ws, folder, prepared.config, options)
    script = job_script(ws, ws.relative(folder), options.launch, main, words)
    _ = script.text  # before anything is written
    client.check_has()
    with held(folder, prepared.output_dir):
        run = begin(ws, prepared.engine, prepared, options, plan)
        write_inputs(ws, run, prepared)
    _hand_in(run, script)  # the job may start at once, and needs the folder
    return run


def submit_again(ws: Workspace, main: Engine, run: Run, spec: JobSpec | None, options: RunOptions) -> Run:
    """Submit another job for a run that was stopped or that failed in its last one.

    Args:
        spec: what the job asks for; what its last one asked for by default.

    Raises:
        UsageError: as `submit`, or with `spec` as many processes as before would not train. SlurmError: as `submit`.
    """
    check_links(run.path, run.name)
    launch = run.launch
    if spec is not None:
        again = launch_in_slurm(spec, launch.nproc)
        if again.nodes != launch.nodes or spec.gpu_count != read_spec(launch.settings).gpu_count:
            before = read_spec(launch.settings)
            raise UsageError(
                f"{run.name} began on {launch.nodes} nodes with {before.gpu_count} GPUs each, and --slurm says"
                f" {again.nodes} with {spec.gpu_count}",
                f"say the same: nodes={launch.nodes},gpus={before.gpus or 0}; or train anew with another --output-dir",
            )
        launch = again
    script = job_script(ws, run.name, launch, main, resume_options(ws, run.path, run.config, options))
    client.check_has()
    with held(run.path, run.name):
        run = read_run(ws, run.path)
        run.update(launch=launch.as_dict(), status="interrupted")
    _hand_in(run, script)
    return run


def _hand_in(run: Run, script: Script) -> None:
    try:
        handle = {"job": client.submit(run.path / SCRIPT, script)}
    except RlguideError as error:
        run.over("interrupted", failure={"what": error.what, "exit_code": 1})
        raise
    forget(handle["job"])
    run.update(launch=replace(run.launch, handle=handle).as_dict())


def next_lines(run: Run) -> list[str]:
    """What to type next."""
    name = shlex.quote(run.name)
    return [f"rlguide watch {name}", "rlguide runs", f"rlguide stop {name}"]


def document(run: Run) -> Mapping[str, Any]:
    """What was submitted, for JSON."""
    return {
        "run": run.name,
        "status": run.status,
        "job": run.launch.handle.get("job"),
        "script": run.file(SCRIPT),
        "slurm": dict(run.launch.settings),
    }
