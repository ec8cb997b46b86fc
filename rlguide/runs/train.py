"""Start a training, watch it to its end, and leave a record; or resume one that was interrupted."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.catalog.methods import find_method
from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, JobFailed, run_job
from rlguide.engine.running import EVENTS, held
from rlguide.engine.worker import worker_command
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.launchers.launch import LOGS, Launch, Needs, check_here, check_hosts, in_effect, started
from rlguide.launchers.slurm.states import OVER
from rlguide.policy.parts import check_parts, weight_files
from rlguide.policy.run_record import RUN_FILE
from rlguide.policy.run_state import resume_command
from rlguide.policy.trained_on import FINGERPRINTS
from rlguide.recipes.prepare import Prepared
from rlguide.recipes.render import load_recipe, render
from rlguide.recipes.schedule import MICRO_BATCH, count_of
from rlguide.runs.authority import check_links
from rlguide.runs.checkpoints import (
    is_complete,
    last_checkpoint,
    list_checkpoints,
    put_damaged_aside,
    resumable_checkpoint,
    set_micro_batch,
    step_of,
)
from rlguide.runs.diagnosis.first_step import StartCheck, check_start, first_loss
from rlguide.runs.diagnosis.stopping import DEFAULT, EXIT_CODE, StopOn
from rlguide.runs.hosts import keep_hosts, needs_of, ready_again, relaunched
from rlguide.runs.metrics import METRICS, MetricsLog, read_rows, settle_metrics, summarize
from rlguide.runs.planned import kept, tell_failure
from rlguide.runs.plots import plot_run
from rlguide.runs.record import CONFIG, LOG, Run, create_run, read_run
from rlguide.runs.resumable import check_data_unchanged, check_resumable, same_processes
from rlguide.runs.retry import (
    continue_with,
    explain,
    failed_of,
    next_of,
    nothing_left,
    record_failure,
    survived,
    variables_of,
    worker_options,
)
from rlguide.runs.surroundings.gather import resumed
from rlguide.runs.training_rows import write_fingerprints
from rlguide.runs.view.live import TrainingView
from rlguide.runs.view.training import Watch, state_of
from rlguide.workspace import Workspace, atomic_write

if TYPE_CHECKING:
    from rlguide.launchers.slurm.inside import Ending
    from rlguide.planner.plan import Plan

# What LLaMA-Factory leaves in the folder of a run.
_OF_THE_ENGINE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "all_results.json",
    "eval_results.json",
    "train_results.json",
    "trainer_log.jsonl",
    "trainer_state.json",
)


@dataclass(frozen=True)
class RunOptions:
    """How a training is run, beside what is trained.

    Attributes:
        is_plain: just as LLaMA-Factory does; when resuming: from now on.
        auto_retry: each time that memory runs out, continue from the last checkpoint with the next setting that needs
            less and learns the same (`planner.ladder`), as long as there is one.
        stop_on: rules (`catalog/diagnosis.yaml`) that stop the training when they find something.
        launch: how its processes are started; when resuming, the record says it, unless it names hosts itself, or other
            GPUs of this host.
        ending: of the Slurm job that it runs in, where that may come before its own end.
    """

    is_plain: bool = False
    auto_retry: bool = False
    stop_on: tuple[str, ...] = DEFAULT
    launch: Launch = field(default_factory=Launch)
    ending: Ending | None = None


@dataclass(frozen=True)
class _Job:
    """A run that is trained here; `lock` is the descriptor that holds its folder."""

    ws: Workspace
    engine: Engine
    run: Run
    lock: int
    options: RunOptions


def train_command(ws: Workspace, engine: Engine, folder: Path, is_plain: bool, options: Sequence[str] = ()) -> Command:
    """The command that trains the config in a run's folder, from the workspace folder.

    It is LLaMA-Factory's own training in a worker that tells what happens (`rlguide_worker/train.py`) and, unless
    `is_plain`, takes less memory and time; `llamafactory-cli train` on the same config trains the same.

    Args:
        options: of the worker, beside `--plain`.
    """
    events = folder / EVENTS
    arguments = worker_command(engine, "train", ws.relative(folder / CONFIG), str(events))
    arguments += ["--plain"] if is_plain else []
    return Command((*arguments, *options), ws.root, events=events)


def train(
    ws: Workspace,
    engine: Engine,
    prepared: Prepared,
    options: RunOptions | None = None,
    plan: Plan | None = None,
) -> Run:
    """Train a prepared config to its end. `plan`: what it may take.

    Raises:
        UsageError: something trains in that folder, or a link in it leads out of it.
        RlguideError: a host that is to take part cannot, or has something else than this one.
        StoppedByRule: a rule of `options` stopped it; its record says why.
        EngineError: the engine failed; the message has the cause. Its exit code is the engine's.
        KeyboardInterrupt: after the whole process group is stopped and the record is written.
    """
    options, folder = options or RunOptions(), ws.root / prepared.output_dir
    check_links(folder, prepared.output_dir)
    with held(folder, prepared.output_dir) as lock:
        if options.launch.hosts:
            check_hosts(options.launch, needs_of(ws, engine, folder, prepared.method, prepared.config))
        run = begin(ws, engine, prepared, options, plan)
        job = _Job(ws, engine, run, lock, options)
        return _to_the_end(job, partial(_begin, job, prepared))


def begin(ws: Workspace, engine: Engine, prepared: Prepared, options: RunOptions, plan: Plan | None) -> Run:
    """The run of a prepared config, with nothing in its folder but the record; nothing is started.

    The folder is `held`. Arguments and errors are those of `train`.
    """
    _check_free(ws, ws.root / prepared.output_dir)
    _clear(ws.root / prepared.output_dir)
    run = create_run(ws, prepared, engine.versions, options.is_plain, kept(plan) if plan else None)
    if not options.launch.is_default:
        run.update(launch=options.launch.as_dict())
        keep_hosts(run)
    return run


def _check_free(ws: Workspace, folder: Path) -> None:
    """Refuse the folder of a run that a Slurm job trains, or is going to. Raises UsageError."""
    try:
        run = read_run(ws, folder)
    except DataError:  # there is none, or it is damaged
        return
    if (job := run.slurm_job) is not None and job.phase != OVER:
        stop = f"rlguide stop {shlex.quote(run.name)}"
        raise UsageError(
            f"{run.name} {job.words}", f"choose another folder with --output-dir, or end that one: `{stop}`"
        )


def write_inputs(ws: Workspace, run: Run, prepared: Prepared) -> None:
    """Write beside the record what is trained: the config, and which prompts."""
    with atomic_write(run.path / CONFIG) as file:
        file.write(prepared.text)
    write_fingerprints(ws, run.path, prepared.config)


def _begin(job: _Job, prepared: Prepared) -> Run:
    write_inputs(job.ws, job.run, prepared)
    return _drive(job, 0)


def _clear(folder: Path) -> None:
    """Remove what an earlier run left (one that failed early, or that is to be overwritten), so that none of it counts.

    The engine's `overwrite_output_dir` leaves it all, and checkpoints of the old run would be resumed from.
    """
    for path in list_checkpoints(folder):
        shutil.rmtree(path)
    for name in ("eval", LOGS):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (RUN_FILE, METRICS, EVENTS, LOG):
        (folder / name).unlink(missing_ok=True)
    _clear_result(folder)


def _clear_result(folder: Path) -> None:
    """Remove the weights and the figures of a training that begins anew: the engine refuses a folder with weights."""
    for path in (*(folder / name for name in _OF_THE_ENGINE), *weight_files(folder)):
        path.unlink(missing_ok=True)


def resume(ws: Workspace, engine: Engine, run: Run, options: RunOptions | None = None) -> Run:
    """Resume an interrupted or failed run from its last complete checkpoint, with the config it began with.

    With `auto_retry`, one that ran out of memory continues with the next setting at once.

    Raises:
        UsageError: it is finished or still running, its data is not what it was, it cannot be resumed here, or a link
            in its folder leads out of it.
        CheckpointError: the base or an adapter below it is not what it was.
        EngineError, StoppedByRule, KeyboardInterrupt: as `train`.
    """
    options = options or RunOptions()
    check_links(run.path, run.name)
    launch = relaunched(run, options.launch)
    with held(run.path, run.name) as lock, in_effect(launch):
        if run.status == "finished":
            raise UsageError(f"{run.name} is finished", run.next_step)
        if is_complete(run):  # it ended unwatched: only the record is missing
            return _settle(run, None)
        check_here(launch, engine)
        job = _Job(ws, engine, run, lock, options)
        if launch.hosts:
            check_hosts(launch, _needs(job))
        if launch != run.launch:
            run.update(launch=launch.as_dict())
        keep_hosts(run)
        if options.is_plain:
            run.update(plain=True)
        return _to_the_end(job, partial(_continue, job, with_less=options.auto_retry))


def _to_the_end(job: _Job, attempt: Callable[[], Run]) -> Run:
    """Train by `attempt`; with `auto_retry` continue with less memory each time that it runs out.

    Each time something is made smaller, so that it ends. With restarts left (`Launch.max_restarts`), what failed of
    anything else continues as it is: by this loop and not by torchrun's own, which would begin anew without the
    checks of a resume, and is gone when the node is lost that holds its rendezvous.
    """
    restarts = job.run.launch.max_restarts
    with _interrupted_is_said(job.run):
        while True:
            try:
                return attempt()
            except JobFailed as error:
                is_smaller = job.options.auto_retry and next_of(job.ws, job.run, job.engine) is not None
                if not is_smaller and (not restarts or error.cause.memory):
                    explain(job.ws, job.run, job.engine, error)
                    raise
                if not is_smaller:
                    restarts -= 1
                    ready_again(job.run, _needs(job), restarts)
                attempt = partial(_continue, job, with_less=is_smaller)


def _needs(job: _Job) -> Needs:
    """What the hosts of a run need to resume it."""
    return needs_of(job.ws, job.engine, job.run.path, find_method(job.run.method_name), job.run.config)


def _continue(job: _Job, with_less: bool) -> Run:
    """Continue from the last checkpoint; `with_less`: with the next setting, if memory ran out."""
    ws, run = job.ws, job.run
    check_data_unchanged(ws, run)
    check_parts(ws, run.name, run.record)
    if not (run.path / FINGERPRINTS).exists():  # killed in its first second, or begun by an earlier version
        write_fingerprints(ws, run.path, run.config)
    variables = same_processes(run)
    run.update(surroundings=resumed(run.record, job.engine.versions))
    if with_less:
        _lessen(job)
    return _drive(job, _restore(run), variables)


def _lessen(job: _Job) -> None:
    """Let a run that ran out of memory continue with the next setting; nothing for any other.

    Raises:
        EngineError: there is none. UsageError: its checkpoint cannot be resumed from.
    """
    failed, run = failed_of(job.ws, job.run, job.engine), job.run
    if failed is None:
        return
    change = next_of(job.ws, run, job.engine)
    if change is None:
        raise nothing_left(run, failed, job.engine)
    checkpoint = resumable_checkpoint(run.path)
    if checkpoint is not None:
        check_resumable(run, checkpoint)  # before anything changes
    where = {"start": "before the first step", "evaluation": "in the evaluation"}.get(failed.during, "")
    say(f"{failed.what}{where and f', {where}'}: continuing with less memory: {continue_with(run, change)}")


def _restore(run: Run) -> int:
    """Write the config that resumes the run; returns the step from which it will, 0 for the beginning."""
    config = {key: value for key, value in run.config.items() if key != "resume_from_checkpoint"}
    config["output_dir"] = run.name  # where the record lies, whatever it says
    put_damaged_aside(run.path)
    not_resumable = run.method.not_resumable if run.method is not None else ""
    checkpoint = None if not_resumable else resumable_checkpoint(run.path)
    step = 0
    if checkpoint is None:
        why = not_resumable or "no complete checkpoint was written yet"
        say(f"{why}: training starts from the beginning")
        for path in list_checkpoints(run.path):  # the engine would resume from one that it finds
            shutil.rmtree(path)
        _clear_result(run.path)
    else:
        check_resumable(run, checkpoint)
        step = step_of(checkpoint)
        config["resume_from_checkpoint"] = run.file(checkpoint.name)
        if not config.get("auto_find_batch_size"):
            set_micro_batch(checkpoint, count_of(config, MICRO_BATCH))
        if config.get("early_stopping_steps"):  # else its count of evaluations without progress begins anew
            config["restore_callback_states_from_checkpoint"] = True
        config.pop("overwrite_output_dir", None)  # it would delete the log of the first part
        say(f"resuming from step {step} of {run.record.total_steps}")
    introduction = [f"The config of {run.name}, resumed from step {step}."]
    if less := survived(run.record.attempts or ()):
        introduction.append(f"It {less}.")
    with atomic_write(run.path / CONFIG) as file:
        file.write(render(load_recipe(run.method_name), config, introduction))
    return step


def _drive(job: _Job, start_step: int, variables: Mapping[str, str] | None = None) -> Run:
    run = job.run
    command = replace(
        train_command(job.ws, job.engine, run.path, bool(run.record.plain), worker_options(run)),
        keep=(job.lock,),
        variables={**(variables or {}), **variables_of(run)},
        again=f"`{resume_command(run.name)}`",
    )
    command = started(run.launch, command, run.path)
    log = MetricsLog(run.path / METRICS, start_step)
    stop_on = StopOn(run, job.options.stop_on, read_rows(run.path / METRICS) if start_step else ())
    with log, TrainingView(state_of(run, start_step)) as view:
        watch = Watch(run, view, log, stop_on, job.options.ending)
        try:
            run_job(job.engine, command, run.path / LOG, watch)
            watch.stopwatch.tell()
        except JobFailed as error:
            ending = job.options.ending
            if stop_on.is_stopped_by(error.returncode) or (ending is not None and ending.is_coming):
                raise KeyboardInterrupt from None
            stopped = stop_on.settle() if error.returncode == EXIT_CODE else None
            if stopped is not None:
                settle_metrics(run.path)
                raise stopped from None
            with suppress(RlguideError):  # on a full disk; what counts is what the engine failed of
                record_failure(run, error, watch.during, view.state.step)
                tell_failure(run)
                settle_metrics(run.path)
            error.exit_code = error.returncode if 0 < error.returncode < 126 else 1
            raise
    return _settle(run, view.state.check)


@contextmanager
def _interrupted_is_said(run: Run) -> Iterator[None]:
    """Ctrl-C in the block leaves a record that says so, and a line that says how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        settle_interrupted(run)
        raise


def settle_interrupted(run: Run) -> None:
    """Write the record of a run that was stopped, and say how to resume it."""
    with suppress(RlguideError):  # on a full disk; it is found to be interrupted all the same
        run.over("interrupted")
        settle_metrics(run.path)
    say(stopped_words(run))


def _settle(run: Run, check: StartCheck | None) -> Run:
    """Write the record of a finished run: metrics, plots, `run.json`."""
    rows = settle_metrics(run.path)
    plots = plot_run(rows, run.path, first_loss(run.config))
    first = next((row for row in rows if row.get("step") == 1 and "loss" in row), None)
    check = check or (check_start(run.config, first) if first else None)
    run.over(
        "finished",
        summary=summarize(rows),
        start_check={"ok": check.ok, "message": check.message} if check else None,
        plots=tuple(run.file(path.name) for path in plots),
    )
    return run


def stopped_words(run: Run) -> str:
    """Where a run was stopped, and the command that resumes it."""
    checkpoint = last_checkpoint(run.path)
    kept = f"checkpoint at step {step_of(checkpoint)} is kept" if checkpoint else "no checkpoint yet"
    return f"stopped; {kept}. Resume with: {resume_command(run.name)}"
