"""The plan of a run: made before it starts, kept in its record; what it took beside that, the next plan uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rlguide.catalog.methods import find_method
from rlguide.console import say
from rlguide.engine.events import Logged, Progress
from rlguide.engine.find import Engine
from rlguide.engine.out_of_memory import figures_of
from rlguide.errors import RlguideError
from rlguide.planner.learnt import STEPS, Outcome, read_outcome, record_outcome
from rlguide.runs.pace import Pace
from rlguide.workspace import Workspace

if TYPE_CHECKING:
    from rlguide.catalog.gpus import Gpus
    from rlguide.engine.job import Event
    from rlguide.planner.plan import Plan
    from rlguide.planner.training import Training
    from rlguide.recipes.prepare import Prepared
    from rlguide.runs.record import Run


def plan_of(ws: Workspace, prepared: Prepared, is_plain: bool, gpus: Gpus | None = None) -> Plan | None:
    """The plan of a training on these GPUs, by default this host's; None without any, or if it fails (it is said)."""
    from rlguide.planner.asked import host_gpus, of_prepared

    gpus = gpus or (None if prepared.config.get("use_cpu") else host_gpus())
    if gpus is None:
        return None
    plan = _planned(ws, prepared.engine, lambda: of_prepared(ws, prepared, is_plain), gpus)
    if isinstance(plan, str):
        say(f"note: this training could not be planned: {plan}")
        return None
    return plan


def _planned(ws: Workspace, engine: Engine, training: Callable[[], Training], gpus: Gpus) -> Plan | str:
    """The plan of a training, or why there is none, whatever that is: a plan is a help, and no condition."""
    from rlguide.planner.plan import plan_all

    try:
        (plan,) = plan_all(ws, engine, [training()], gpus)
    except RlguideError as error:
        return error.what
    except Exception as error:  # a config or a config.json that nobody foresaw does not keep anybody from training
        return f"unexpected {type(error).__name__}: {error}"
    return plan


def kept(plan: Plan) -> dict[str, Any]:
    """What of a plan is kept in the record of its run."""
    from dataclasses import asdict

    from rlguide.planner.plan import outcome_of, planned_time

    time_ = planned_time(plan)
    return {
        "outcome": asdict(outcome_of(plan)),
        "peak": plan.memory.peak,
        "flops": plan.work.flops,
        "seconds": time_.mid if time_ is not None else None,
        "longest": list(plan.training.lengths.longest),
    }


class Stopwatch:
    """Times a run beside its plan: from step 20 on, and when it ends, the next plan learns what the whole takes.

    Args:
        pace: its speed by the same events, which is also what is shown while it runs: so the next plan says the same.
    """

    def __init__(self, run: Run, pace: Pace) -> None:
        self._run, self._plan, self._pace = run, run.record.plan or {}, pace
        self._first: int | None = None
        self._peak, self._is_told = 0, False

    def see(self, event: Event) -> None:
        """Take an event that `pace` has seen; the first step of this attempt, which warms up, does not count."""
        if isinstance(event, Logged):
            self._peak = max(self._peak, event.peak_bytes)
        elif isinstance(event, Progress) and event.phase == "train":
            if self._first is None:
                self._first = event.done
            elif not self._is_told and event.done - self._first >= STEPS:
                self._is_told = True
                self.tell()

    def tell(self) -> None:
        """Let the next plan know what was seen so far: its operations over the time that the whole takes."""
        outcome, seconds = _outcome(self._run), self._pace.whole()
        if outcome is None or self._first is None or not seconds:
            return
        steps, flops, planned = self._pace.step - self._first, self._plan.get("flops"), self._plan.get("seconds")
        if steps < STEPS or not isinstance(flops, float):
            return
        record_outcome(
            replace(
                outcome,
                steps=steps,
                flops_per_second=flops / seconds,
                planned_flops_per_second=flops / planned if isinstance(planned, float) and planned > 0 else 0.0,
                peak_bytes=self._peak,
            )
        )


def pace_of(run: Run) -> Pace:
    """What times a run, before any of its events was seen."""
    record = run.record
    return Pace(run.config, record.total_steps or 0, run.held_out_rows, record.effective_batch or 0)


def tell_failure(run: Run) -> None:
    """Let the next plan know that a run, whose record says so, ran out of a GPU's memory in a step of training."""
    failure, outcome = run.record.failure or {}, _outcome(run)
    figures = failure.get("figures")
    is_of_step = (failure.get("memory"), failure.get("during")) == ("gpu", "training")
    if not is_of_step or outcome is None or not isinstance(figures, dict):
        return
    if available := figures_of("", figures).available:
        record_outcome(replace(outcome, peak_bytes=available, out_of_memory=True))


def _outcome(run: Run) -> Outcome | None:
    """The planned side of what a run took."""
    found = read_outcome((run.record.plan or {}).get("outcome"))
    if found is None:
        return None
    return replace(found, run=str(run.record.id), date=datetime.now(UTC).isoformat(timespec="seconds"))


def fits_of(ws: Workspace, run: Run, engine: Engine) -> Callable[[Mapping[str, Any]], bool | None]:
    """Whether a config would fit with which the run continues after it ran out of memory; None: not known."""
    from rlguide.planner.asked import host_gpus
    from rlguide.planner.lengths import Lengths
    from rlguide.planner.plan import Plan
    from rlguide.planner.training import Training
    from rlguide.policy.base import find_base
    from rlguide.recipes.schedule import Schedule

    longest = (run.record.plan or {}).get("longest")
    gpus = host_gpus()

    def fits(config: Mapping[str, Any]) -> bool | None:
        if gpus is None or not isinstance(longest, list) or len(longest) < 2:
            return None
        if not all(type(part) is int and part >= 0 for part in longest):
            return None
        row = tuple(longest)
        record = run.record
        schedule = Schedule(1, 0, record.processes or 1, record.effective_batch or 1, 1, 1)

        def training() -> Training:
            model = find_base(ws, str(config.get("model_name_or_path"))).config or {}
            lengths = Lengths((row,), row, "the run's own")
            return Training(find_method(run.method_name), config, model, schedule, lengths, bool(record.plain))

        plan = _planned(ws, engine, training, gpus)
        return plan.fits if isinstance(plan, Plan) else None

    return fits
