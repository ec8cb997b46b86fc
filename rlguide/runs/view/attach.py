"""Attach to a run by its files alone, whoever started it: what it did so far, what it does, and how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from rlguide.console import printable
from rlguide.engine.events import EventReader, Tail
from rlguide.engine.failures import explain_failure
from rlguide.engine.job import Event, Idle, Line
from rlguide.engine.process import read_tail
from rlguide.engine.running import EVENTS, is_training
from rlguide.errors import EngineError, RlguideError
from rlguide.policy.run_state import resume_command
from rlguide.runs.checkpoints import is_complete
from rlguide.runs.diagnosis.diagnose import diagnose, findings_of
from rlguide.runs.diagnosis.facts import facts_of
from rlguide.runs.diagnosis.stopping import way_on
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import LOG, Run, find_runs, open_run, read_run
from rlguide.runs.retry import survived
from rlguide.runs.view.gpus import GpuMeter
from rlguide.runs.view.live import TrainingView
from rlguide.runs.view.training import state_of
from rlguide.workspace import Workspace

_POLL = 0.2  # seconds between two looks at the events
_RECORD = 1.0  # at the record
_LOG_TAIL = 1 << 16  # bytes of the log in which its phase before the first step is looked for


class Attached:
    """A run, and its state as its files tell it.

    Attributes:
        run: as its record was read last.
        state: everything until now, after `read`.
    """

    def __init__(self, ws: Workspace, run: Run, now: Callable[[], float] = time.time) -> None:
        self._ws, self._now = ws, now
        self._gpus = GpuMeter()
        self._begin(run)

    def _begin(self, run: Run) -> None:
        self.run = run
        self.state = state_of(run)
        self.state.now = self._now
        self.state.diagnosis = lambda rows: diagnose(self.run.config, rows, facts_of(self.run))
        log = run.path / LOG
        size = log.stat().st_size if log.is_file() else 0
        self._events, self._log = Tail(run.path / EVENTS, 0), Tail(log, max(0, size - _LOG_TAIL))
        self._reader, self._looked = EventReader(), self._now()
        self._attempts = 0
        for event in self.new():
            self.state.see(event)
        if not self.state.rows:  # a run whose events are gone, or that an earlier version made
            self.state.take_rows(read_metrics(run.path / METRICS))
            self.state.pace.step = max([self.state.step, *(int(row["step"]) for row in self.state.rows)])
        self._settle()

    def new(self) -> Iterator[Event]:
        """What happened since it was asked last."""
        for line in self._log.lines():
            yield Line(line)
        for line in self._events.lines():
            event = self._reader.read(line)
            if event is not None:
                yield event

    def look(self) -> None:
        """Read the record again, and ask for what the GPUs do; now and then, as often as it is called.

        Raises:
            DataError: the record is gone or damaged.
        """
        if self._now() - self._looked < _RECORD:
            return
        self._looked = self._now()
        run = read_run(self._ws, self.run.path)
        if run.record.id != self.run.record.id:  # another run in the same folder
            self._begin(run)
            return
        self.run = run
        self._settle()

    def _settle(self) -> None:
        """Whether it still trains: while it continues with less memory, its record says for a moment that it failed."""
        if self.run.begun is not None and not self.state.is_over:
            self.state.started = self.run.begun  # its first event comes after the imports of the engine
        attempts = self.run.record.attempts or ()
        if len(attempts) > self._attempts:
            self.state.notes.append(f"it {survived(attempts)}")
            self._attempts = len(attempts)
        job = self.run.slurm_job
        if job is not None and self.run.status in ("queued", "running", "unknown"):
            note = f"it {job.words}"
            self.state.notes += [note] * (note not in self.state.notes[-1:])
            return
        if self.run.is_elsewhere and not is_complete(self.run):
            note = "it trains on another host: from here nobody can see whether its process is alive"
            self.state.notes += [note] * (note not in self.state.notes)
            return
        if self.run.status == "running" or is_training(self.run.path, self.run.record.pid):
            if not self.run.config.get("use_cpu"):
                self.state.gpus = self._gpus.read()
            return
        self.run = read_run(self._ws, self.run.path)  # it may have ended since: only now its record is the last
        if not self.state.is_over:
            self.state.end(self.run.status)
            if self.run.seconds is not None:  # over all attempts, as `rlguide runs` says
                self.state.started = self.state.now() - self.run.seconds
            self.state.findings = findings_of(self.run)
            self.state.gpus = ()

    def wait_for_gpus(self, seconds: float) -> None:
        """Ask what the GPUs do and wait for the answer, but no longer than this."""
        is_here = not self.run.is_elsewhere and self.run.slurm_job is None
        if not (self.state.is_over or not is_here or self.run.config.get("use_cpu")):
            self.state.gpus = self._gpus.wait(seconds)


def run_to_watch(ws: Workspace, name: str | None) -> Run:
    """The run of this name; without one the newest that trains, else the newest.

    Raises:
        UsageError: there is none. DataError: its record is damaged.
    """
    running = [] if name is not None else [run for run in find_runs(ws) if run.status in ("running", "queued")]
    return running[0] if running else open_run(ws, name)


def follow(attached: Attached, wait: Callable[[float], Any] = time.sleep) -> None:
    """Show a run (stdout) until it trains no more.

    Raises:
        DataError: its record is gone. KeyboardInterrupt: nobody wants to see more; the run goes on.
    """
    with TrainingView(attached.state, on_stdout=True) as view:
        while not attached.state.is_over:
            for event in attached.new():
                view.handle(event)
            attached.look()
            view.state = attached.state
            view.handle(Idle())
            wait(_POLL)
        for event in attached.new():  # what came with its end
            attached.state.see(event)


def how_it_ended(attached: Attached) -> RlguideError | None:
    """Why a run did not come to its end, and what can be done now; None of one that is finished, or still trains."""
    run, state = attached.run, attached.state
    if not state.is_over or run.status == "finished":
        return None
    again, log = resume_command(run.name), run.file(LOG)
    if is_complete(run):
        return EngineError(
            f"{run.name} has trained all its steps, and what started it was gone by then: its record is not complete",
            f"complete it, which trains nothing: `{again}`",
        )
    failure, where = run.record.failure or {}, f"at step {state.step} of {state.total}"
    if run.status == "failed" or state.raised:
        code = failure.get("exit_code")
        text = read_tail(run.path / LOG) if (run.path / LOG).is_file() else ""
        cause = explain_failure(text, code if isinstance(code, int) else 1, state.raised, f"`{again}`")
        what, fix = str(failure.get("what") or cause.what), cause.fix
        is_said = again in fix or bool(failure.get("memory"))  # the next step says how it continues with less
        fix = run.next_step if failure.get("memory") else fix if is_said else f"{fix}; then {run.next_step}"
        return EngineError(f"{run.name} failed {where}: {what}", f"{fix}; log: {log}")
    if run.status == "interrupted" and run.record.status == "interrupted":
        why = failure.get("what")  # of one that a rule of `--stop-on` has stopped
        what = f"{printable(why)} ({where})" if isinstance(why, str) else f"{run.name} was stopped {where}"
        return EngineError(what, way_on(run, state.findings))
    return EngineError(
        f"{run.name} was killed {where}: its process is gone, and did not say why (kill -9, or the host went down)",
        f"{run.next_step}; log: {log}",
    )


def attached_document(attached: Attached) -> dict[str, Any]:
    """The state of a run for JSON, with its status and how it ended."""
    from dataclasses import asdict

    from rlguide.runs.report import best_values
    from rlguide.runs.verdict import verdict_of
    from rlguide.runs.view.screen import document

    run, error = attached.run, how_it_ended(attached)
    return {
        "run": run.name,
        "status": run.status if attached.state.is_over or run.status == "queued" else "running",
        **document(attached.state),
        "best": best_values(run),
        "verdict": asdict(verdict_of(run)) if attached.state.is_over else None,
        "failure": None if error is None else {"what": error.what, "fix": error.fix},
    }
