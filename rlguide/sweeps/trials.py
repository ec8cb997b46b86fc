"""What a trial has come to: read from its run, which is the only place where that is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlguide.console import printable
from rlguide.errors import RlguideError
from rlguide.policy.run_record import RUN_FILE
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.manage.accuracy import held_out_accuracy
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import Run, read_run
from rlguide.statistics import Estimate
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.sweep import SWEEPS, Sweep
from rlguide.workspace import Workspace, read_text

WAITING, QUEUED, RUNNING, FINISHED, PRUNED = "waiting", "queued", "running", "finished", "pruned"
FAILED, INTERRUPTED, STOPPED = "failed", "interrupted", "stopped"
# Warnings of the diagnosis that a winner may not have, beside its errors: the margin was pushed at the price of what
# the policy writes, which the held-out pairs do not show.
_GRAVE = ("over_optimised", "simpo_degrades")


@dataclass(frozen=True)
class Trial:
    """A trial as its run stands.

    Attributes:
        run: the name of its run in the workspace.
        state: "waiting", "queued" (of a cluster), "running", "finished", "pruned", "failed", "interrupted", or
            "stopped" by a rule (--stop-on).
        value: the objective at its best step; None where it has none yet.
        step: done so far, of `total`.
        accuracy: held out, at its best step, with its interval.
        findings: rules of the diagnosis that hold; grave: those of them with which it cannot win.
        cause: why it failed.
    """

    number: int
    run: str
    settings: Mapping[str, Any]
    state: str
    value: float | None = None
    best_step: int | None = None
    step: int = 0
    total: int = 0
    accuracy: Estimate | None = None
    findings: tuple[str, ...] = ()
    grave: tuple[str, ...] = ()
    seconds: float | None = None
    cause: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.state in (FINISHED, PRUNED, STOPPED)

    @property
    def can_win(self) -> bool:
        """Whether it came to its end with a figure, and nothing grave was found."""
        return self.state == FINISHED and self.value is not None and not self.grave

    def as_dict(self) -> dict[str, Any]:
        """For JSON; no interval where it is not known."""
        return {**asdict(self), "accuracy": plain(self.accuracy)}


def plain(estimate: Estimate | None) -> dict[str, Any] | None:
    """An estimate for JSON, which knows no infinity."""
    if estimate is None:
        return None
    return {key: value if math.isfinite(value) else None for key, value in estimate.as_dict().items()}


@dataclass
class Reports:
    """The held-out figures of a trial that were not told yet, as (percent of its steps, value)."""

    told: set[int] = field(default_factory=set)

    def new(self, run: Run, objective: Objective) -> list[tuple[int, float]]:
        """Those that came since the last call. Percent, so that trials of other batch sizes are at the same point."""
        total = run.record.total_steps or 0
        found = []
        for row in read_metrics(run.path / METRICS):
            if objective.metric not in row or row["step"] <= 0 or not total:
                continue
            percent = min(100, round(100 * row["step"] / total))
            if percent not in self.told:
                self.told.add(percent)
                found.append((percent, float(row[objective.metric])))
        return found


def name_of(number: int) -> str:
    """The folder of a trial: trial-003."""
    return f"trial-{number:03d}"


def run_name(sweep: Sweep, number: int) -> str:
    """The run of a trial as it is typed from the workspace."""
    return f"saves/{SWEEPS}/{sweep.name}/{name_of(number)}"


def run_of(ws: Workspace, sweep: Sweep, number: int) -> Run | None:
    """The run of a trial; None where it was not begun, or its record cannot be read."""
    folder = ws.root / run_name(sweep, number)
    try:
        return read_run(ws, folder) if (folder / RUN_FILE).is_file() else None
    except RlguideError:
        return None


def look_at(ws: Workspace, sweep: Sweep, number: int, settings: Mapping[str, Any], is_pruned: bool = False) -> Trial:
    """A trial as its run stands now."""
    name, run = run_name(sweep, number), run_of(ws, sweep, number)
    cause = cause_of(ws.root / f"{name}.log")
    if run is None:
        return Trial(number, name, settings, FAILED if cause else WAITING, cause=cause)
    findings, best, state = findings_of(run), best_step(run), _state(run, is_pruned)
    rows = read_metrics(run.path / METRICS)
    total = run.record.total_steps or 0
    done = steps_done(run.path) if state == FINISHED else max((row["step"] for row in rows), default=0)
    grave = tuple(item.rule for item in findings if item.level == "error" or item.rule in _GRAVE)
    return Trial(
        number,
        name,
        settings,
        state,
        value=None if best is None else best.value,
        best_step=None if best is None else best.step,
        step=done or 0,
        total=total,
        accuracy=held_out_accuracy(run),
        findings=tuple(item.rule for item in findings),
        grave=grave,
        seconds=run.seconds,
        cause=cause if state == FAILED else "",
    )


def _state(run: Run, is_pruned: bool) -> str:
    state = run.status
    if state in (RUNNING, FINISHED, QUEUED):
        return state
    if state == "unknown":  # Slurm does not answer
        return RUNNING
    if is_pruned:
        return PRUNED
    if state == INTERRUPTED:
        return STOPPED if (run.record.failure or {}).get("rule") else INTERRUPTED
    return FAILED


def cause_of(log: Path) -> str:
    """The last error that the rlguide of a trial said, as a line without what acts on a screen; "" without one."""
    try:
        lines = read_text(log).splitlines()
    except RlguideError:
        return ""
    return next((printable(line)[7:500] for line in reversed(lines) if line.startswith("error: ")), "")


def rank(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """The trials that can win, the best first; of equals the one that was begun first."""
    sign = -1 if objective.is_greater else 1
    return sorted(
        (trial for trial in trials if trial.can_win), key=lambda trial: (sign * (trial.value or 0.0), trial.number)
    )
