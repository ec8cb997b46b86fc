"""Start a training, watch it to its end, and leave a record; or resume one that was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from rlguide.catalog.methods import find_method
from rlguide.engine.find import Engine
from rlguide.engine.job import JobFailed
from rlguide.engine.running import held
from rlguide.errors import UsageError
from rlguide.launchers.launch import Needs, check_here, check_hosts, in_effect
from rlguide.policy.parts import check_parts
from rlguide.policy.trained_on import FINGERPRINTS
from rlguide.recipes.prepare import Prepared
from rlguide.runs.authority import check_links
from rlguide.runs.checkpoints import is_complete
from rlguide.runs.hosts import keep_hosts, needs_of, ready_again, relaunched
from rlguide.runs.record import Run
from rlguide.runs.resumable import check_data_unchanged, same_processes
from rlguide.runs.retry import explain, next_of
from rlguide.runs.surroundings.gather import resumed
from rlguide.runs.training.begin import begin, write_inputs
from rlguide.runs.training.drive import Training, drive
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.restore import lessen, restore
from rlguide.runs.training.settle import interrupted_is_said, settle
from rlguide.runs.training_rows import write_fingerprints
from rlguide.workspace import Workspace

if TYPE_CHECKING:
    from rlguide.planner.plan import Plan


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
        training = Training(ws, engine, run, lock, options)
        return _to_the_end(training, partial(_begin, training, prepared))


def _begin(training: Training, prepared: Prepared) -> Run:
    write_inputs(training.ws, training.run, prepared)
    return drive(training, 0)


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
            return settle(run, None)
        check_here(launch, engine)
        training = Training(ws, engine, run, lock, options)
        if launch.hosts:
            check_hosts(launch, _needs(training))
        if launch != run.launch:
            run.update(launch=launch.as_dict())
        keep_hosts(run)
        if options.is_plain:
            run.update(plain=True)
        return _to_the_end(training, partial(_continue, training, with_less=options.auto_retry))


def _to_the_end(training: Training, attempt: Callable[[], Run]) -> Run:
    """Train by `attempt`; with `auto_retry` continue with less memory each time that it runs out.

    Each time something is made smaller, so that it ends. With restarts left (`Launch.max_restarts`), what failed of
    anything else continues as it is: by this loop and not by torchrun's own, which would begin anew without the
    checks of a resume, and is gone when the node is lost that holds its rendezvous.
    """
    restarts = training.run.launch.max_restarts
    with interrupted_is_said(training.run):
        while True:
            try:
                return attempt()
            except JobFailed as error:
                is_smaller = (
                    training.options.auto_retry and next_of(training.ws, training.run, training.engine) is not None
                )
                if not is_smaller and (not restarts or error.cause.memory):
                    explain(training.ws, training.run, training.engine, error)
                    raise
                if not is_smaller:
                    restarts -= 1
                    ready_again(training.run, _needs(training), restarts)
                attempt = partial(_continue, training, with_less=is_smaller)


def _needs(training: Training) -> Needs:
    """What the hosts of a run need to resume it."""
    return needs_of(
        training.ws, training.engine, training.run.path, find_method(training.run.method_name), training.run.config
    )


def _continue(training: Training, with_less: bool) -> Run:
    """Continue from the last checkpoint; `with_less`: with the next setting, if memory ran out."""
    ws, run = training.ws, training.run
    check_data_unchanged(ws, run)
    check_parts(ws, run.name, run.record)
    if not (run.path / FINGERPRINTS).exists():  # killed in its first second, or begun by an earlier version
        write_fingerprints(ws, run.path, run.config)
    variables = same_processes(run)
    run.update(surroundings=resumed(run.record, training.engine.versions))
    if with_less:
        lessen(ws, training.engine, run)
    return drive(training, restore(run), variables)
