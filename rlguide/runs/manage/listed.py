"""The runs of a workspace, a row for each; one that cannot be read is a row that says so."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rlguide.console import printable
from rlguide.engine.events import recent_events
from rlguide.engine.running import EVENTS
from rlguide.errors import CheckpointError, RlguideError
from rlguide.launchers.slurm.states import OVER
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.run_record import read_record, run_folders
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import is_complete, steps_done
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.diagnosis.stopping import way_on
from rlguide.runs.manage.accuracy import held_out_accuracy
from rlguide.runs.record import Run, ask_ahead_of, read_run
from rlguide.statistics import Estimate
from rlguide.workspace import Workspace

COLUMNS = ("run", "method", "data", "state", "best step", "held-out accuracy", "findings", "took", "date")
LESSER = ("data", "took", "date", "method", "findings")  # where a terminal is narrow, the first goes first
_UNREADABLE = "damaged"
_IN_SLURM = ("queued", "running", "unknown")


@dataclass(frozen=True)
class Listed:
    """A run as a list shows it; None for what is not known.

    Attributes:
        state: "running", "finished", "failed", "interrupted", "died" (its record says that it runs, and nothing does),
            "elsewhere" (the same, and that is of another host), "unsettled" (it has trained all its steps, and its
            rlguide was gone by then), or "damaged"; of one in a Slurm job also "queued", and "unknown" where Slurm
            does not answer.
        where: of one that did not come to its end: at which step, of what, or on which host; of one in a Slurm job what
            Slurm says of that.
        job: the Slurm job that trains it, as long as that is not over: its id.
        steps: done so far; total_steps: planned, or done in all.
        best_step: by its config's rule; accuracy: at that step, of held-out pairs.
        findings: the rules of the diagnosis that hold, the gravest first.
        seconds: that it trained, over all attempts; created: ISO 8601.
        problem: why it cannot be read; fix: what can be done with one that is damaged or did not come to its end.
    """

    name: str
    state: str
    method: str | None = None
    loss: str | None = None
    datasets: tuple[str, ...] = ()
    where: str = ""
    steps: int | None = None
    total_steps: int | None = None
    best_step: int | None = None
    accuracy: Estimate | None = None
    findings: tuple[str, ...] = ()
    seconds: float | None = None
    created: str | None = None
    problem: str = ""
    fix: str = ""
    job: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON; no interval where it is not known."""
        found = {**asdict(self), "accuracy": None if self.accuracy is None else self.accuracy.as_dict()}
        numbers = found["accuracy"] or {}
        known = {key: value if math.isfinite(value) else None for key, value in numbers.items()}
        return {**found, "accuracy": known or None}


def list_runs(ws: Workspace) -> list[Listed]:
    """All runs under `saves/`, newest first, those without a date last. It never fails for one of them."""
    folders = list(run_folders(ws.saves))
    ask_ahead_of([record for folder in folders if (record := read_record(folder)) is not None])
    rows = [_listed(ws, folder) for folder in folders]
    return sorted(sorted(rows, key=lambda row: row.name), key=lambda row: row.created or "", reverse=True)


def _listed(ws: Workspace, folder: Path) -> Listed:
    try:
        run = read_run(ws, folder)
        row = _whole(ws, run)
        if run.is_gone and (again := read_run(ws, folder)).record != run.record:  # it ended meanwhile
            row = _whole(ws, again)
        return row
    except RlguideError as error:
        return Listed(ws.relative(folder), _UNREADABLE, problem=error.what, fix=error.fix)
    except Exception as error:  # what a file may hold that nobody foresaw is that run's, and not the list's
        what = f"it cannot be read: unexpected {type(error).__name__}: {error}"
        return Listed(ws.relative(folder), _UNREADABLE, problem=what, fix=f"look at {ws.relative(folder)}/run.json")


def _whole(ws: Workspace, run: Run) -> Listed:
    """The row of a run; of one that is half deleted, with what is missing."""
    row = row_of(run)
    if row.state != "finished" or run.config.get("do_train") is False:
        return row
    try:
        read_checkpoint(run.path, ws)
    except CheckpointError as error:
        fix = f"put it back from a copy, or remove the run: `rlguide runs remove {shlex.quote(run.name)}`"
        return replace(row, state=_UNREADABLE, problem=error.what, fix=fix)
    return row


def row_of(run: Run) -> Listed:
    """A run as a list shows it."""
    state, record, best = state_of_run(run), run.record, best_step(run)
    found = findings_of(run)
    done = steps_done(run.path) if state == "finished" else reached_step(run.path)
    return Listed(
        name=run.name,
        state=state,
        method=run.method_name,
        loss=record.loss,
        datasets=tuple(map(str, record.datasets or {})),
        where=_where(run, state, done),
        steps=done,
        total_steps=record.total_steps,
        best_step=best.step if best is not None else None,
        accuracy=held_out_accuracy(run),
        findings=tuple(finding.rule for finding in found),
        seconds=run.seconds,
        created=record.created,
        fix="" if state in ("finished", "running", "elsewhere", "queued") else way_on(run, found),
        job=run.slurm_job.job if run.slurm_job is not None and state in _IN_SLURM else "",
    )


def state_of_run(run: Run) -> str:
    """The state of a run, as `Listed` has it: "died" is told from an interruption by a person."""
    status = run.status
    if status != "interrupted" or not run.record.is_open:
        return status
    if is_complete(run):
        return "unsettled"
    return "elsewhere" if run.is_elsewhere else "died"


def _where(run: Run, state: str, step: int | None) -> str:
    job = run.slurm_job
    if job is not None and state in _IN_SLURM:
        return job.words
    if state == "elsewhere":
        return f"is recorded as running on {printable(run.host)}, and no process of it was found here"
    if state not in ("failed", "died", "interrupted"):
        return ""
    failure = run.record.failure or {}
    at = failure.get("step") if isinstance(failure.get("step"), int) else step
    place = f"at step {at}" if at else "before its first step"
    why = failure.get("what") if state != "died" else ""  # one that a rule has stopped is interrupted
    if job is not None and job.phase == OVER and state != "failed" and not why and job.name != "COMPLETED":
        why = job.words
    return f"{place}: {printable(str(why))}" if why else place


def reached_step(folder: Path) -> int | None:
    """The last step of which the engine told in its events; None if it told none."""
    steps = [event.get("step") for event in recent_events(folder / EVENTS)]
    return max((step for step in steps if type(step) is int and step > 0), default=None)


def cells(row: Listed) -> tuple[str, ...]:
    """A row as the table shows it, under COLUMNS."""
    method = "-" if row.method is None else f"{row.method} {row.loss}" if _says_loss(row) else row.method
    steps = f" {row.steps or 0}/{row.total_steps}" if row.state != "finished" and row.total_steps else ""
    return (
        row.name,
        method,
        ", ".join(row.datasets) or "-",
        f"{row.state}{steps}",
        "-" if row.best_step is None else str(row.best_step),
        "-" if row.accuracy is None else percent(row.accuracy),
        ", ".join(row.findings) or "-",
        "-" if row.seconds is None else duration(row.seconds),
        date(row.created),
    )


def _says_loss(row: Listed) -> bool:
    return row.loss not in (None, "sigmoid", row.method)


def percent(found: Estimate) -> str:
    """A share with its interval: "0.873 (0.812 to 0.919)"."""
    interval = "" if math.isnan(found.low) else f" ({found.low:.3f} to {found.high:.3f})"
    return f"{found.value:.3f}{interval}"


def duration(seconds: float) -> str:
    """A time in its two largest units: "2 h 05 min"."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {whole % 60:02} s" if minutes else f"{whole} s"


def date(created: str | None) -> str:
    """The date and the time of day here; "-" for what is none."""
    try:
        return datetime.fromisoformat(str(created)).astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return "-"


def remarks(rows: Sequence[Listed]) -> list[str]:
    """What is to be said of runs that did not come to their end, a line each; of a damaged one with its fix."""
    found = []
    for row in rows:
        if row.problem:
            found.append(f"! {row.name}: {row.problem}\n  fix: {row.fix}")
        elif row.state == "unsettled":
            what = f"! {row.name} has trained all its steps, and what started it was gone by then"
            found.append(f"{what}\n  next: {row.fix}")
        elif row.state == "elsewhere":
            found.append(f"! {row.name} {row.where}\n  next, there: rlguide watch {shlex.quote(row.name)}")
        elif row.state == "unknown":
            found.append(f"! {row.name} {row.where}\n  next: {row.fix}")
        elif row.job:
            found.append(f"{row.name} {row.where}")
        elif row.state in ("failed", "died") or (row.state == "interrupted" and ": " in row.where):
            found.append(f"! {row.name} {row.state} {row.where}\n  next: {row.fix}")
    return found
