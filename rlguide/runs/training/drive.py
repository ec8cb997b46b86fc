"""Run the engine once on the config in a run's folder, watch it, and record how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rlguide.engine.find import Engine
from rlguide.engine.job import Command, JobFailed, run_job
from rlguide.engine.running import EVENTS
from rlguide.engine.worker import worker_command
from rlguide.errors import RlguideError
from rlguide.launchers.launch import started
from rlguide.policy.run_state import resume_command
from rlguide.runs.diagnosis.stopping import EXIT_CODE, StopOn
from rlguide.runs.metrics import METRICS, MetricsLog, read_rows, settle_metrics
from rlguide.runs.planned import tell_failure
from rlguide.runs.record import CONFIG, LOG, Run
from rlguide.runs.retry import record_failure, variables_of, worker_options
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.settle import settle
from rlguide.runs.view.live import TrainingView
from rlguide.runs.view.training import Watch, state_of
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Training:
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


def drive(training: Training, start_step: int, variables: Mapping[str, str] | None = None) -> Run:
    """Run the engine to the end of a run whose config lies in its folder.

    Args:
        start_step: the step from which the config resumes, 0 for the beginning.
        variables: of the environment, for the engine.

    Raises:
        JobFailed: the engine failed; the record says of what. StoppedByRule, KeyboardInterrupt: as `train`.
    """
    run = training.run
    command = replace(
        train_command(training.ws, training.engine, run.path, bool(run.record.plain), worker_options(run)),
        keep=(training.lock,),
        variables={**(variables or {}), **variables_of(run)},
        again=f"`{resume_command(run.name)}`",
    )
    command = started(run.launch, command, run.path)
    log = MetricsLog(run.path / METRICS, start_step)
    stop_on = StopOn(run, training.options.stop_on, read_rows(run.path / METRICS) if start_step else ())
    with log, TrainingView(state_of(run, start_step)) as view:
        watch = Watch(run, view, log, stop_on, training.options.ending)
        try:
            run_job(training.engine, command, run.path / LOG, watch)
            watch.stopwatch.tell()
        except JobFailed as error:
            ending = training.options.ending
            code = _exit_code(error)
            if stop_on.is_stopped_by(code) or (ending is not None and ending.is_coming):
                raise KeyboardInterrupt from None
            stopped = stop_on.settle() if code == EXIT_CODE else None
            if stopped is not None:
                settle_metrics(run.path)
                raise stopped from None
            with suppress(RlguideError):  # on a full disk; what counts is what the engine failed of
                record_failure(run, error, watch.during, view.state.step)
                tell_failure(run)
                settle_metrics(run.path)
            error.exit_code = error.returncode if 0 < error.returncode < 126 else 1
            raise
    return settle(run, view.state.check)


def _exit_code(error: JobFailed) -> int:
    """The exit code of a training; EXIT_CODE if one of its processes had that.

    The first that ends so may have the launcher end the others, and its own code is then that of such an end (srun).
    """
    return EXIT_CODE if any(EXIT_CODE in told.exit_codes for told in error.raised) else error.returncode
