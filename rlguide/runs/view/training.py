"""What `train` makes of each event of a training."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rlguide.engine.events import Begun, DataFigures, Lean, Logged, Progress, Surroundings
from rlguide.engine.job import Event, Started
from rlguide.errors import RlguideError
from rlguide.runs.diagnosis.diagnose import diagnose
from rlguide.runs.diagnosis.facts import facts_of
from rlguide.runs.diagnosis.stopping import StopOn, ask_to_stop
from rlguide.runs.metrics import MetricsLog
from rlguide.runs.planned import Stopwatch, pace_of
from rlguide.runs.plots import preload_plots
from rlguide.runs.record import Run
from rlguide.runs.view.gpus import GpuMeter
from rlguide.runs.view.live import TrainingView
from rlguide.runs.view.state import RunState

if TYPE_CHECKING:
    from rlguide.launchers.slurm.inside import Ending


def state_of(run: Run, start_step: int = 0) -> RunState:
    """The state of a run before any of its events was seen; `start_step`: of the checkpoint that it resumes from."""
    seconds = (run.record.plan or {}).get("seconds")
    planned = float(seconds) if isinstance(seconds, (int, float)) and 0 < seconds < 1e9 else None
    pace = pace_of(run)
    pace.step = start_step
    state = RunState(run.name, run.config, pace, planned)
    state.diagnosis = lambda rows: diagnose(run.config, rows, facts_of(run))
    return state


class Watch:
    """Passes what the engine does on to the screen, to `metrics.jsonl` and to the record.

    Attributes:
        during: what it does: "start" before the first step, then "training" or "evaluation".
        stopwatch: times its steps beside its plan.
    """

    def __init__(
        self, run: Run, view: TrainingView, log: MetricsLog, stop_on: StopOn, ending: Ending | None = None
    ) -> None:
        self._run, self._view, self._log, self._stop_on = run, view, log, stop_on
        self._ending, self._is_asked = ending, False
        self.during = "start"
        self.stopwatch = Stopwatch(run, view.state.pace)
        self._gpus = GpuMeter() if not run.config.get("use_cpu") else None

    def __call__(self, event: Event) -> None:
        if self._gpus is not None:
            self._view.state.gpus = self._gpus.read()
        self._view.handle(event)
        self.stopwatch.see(event)
        if isinstance(event, Started):
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._run.update(status="running", pid=event.pid, started=now, failure=None)
            preload_plots()
        elif isinstance(event, Lean):
            self._keep(lean=event.values)
        elif isinstance(event, Surroundings):
            self._keep(surroundings={**(self._run.record.surroundings or {}), "torch": event.values})
        elif isinstance(event, DataFigures):
            self._keep(data_figures=event.values)
        elif isinstance(event, Begun):
            self.during = "training"
            self._check_batch(event)
        elif isinstance(event, Progress):
            self.during = "evaluation" if event.phase == "eval" else "training"
        elif isinstance(event, Logged) and event.kind != "summary":
            row = self._log.add(event.step, event.values)
            if finding := self._stop_on.see(row):
                self._view.note(f"stopping after this step ({finding.rule}): {finding.seen}")

        if self._ending is not None and self._ending.is_coming:
            self._save_before(self._ending)

    def _save_before(self, ending: Ending) -> None:
        """Have the training save and end, because the job that it runs in ends.

        Raises:
            KeyboardInterrupt: it has not ended in time: what came after its last checkpoint is lost.
        """
        if not self._is_asked:
            self._is_asked = True
            self._view.note(f"{ending.words}: saving after this step")
            ask_to_stop(self._run)
        elif ending.is_late:
            self._view.note("this step takes too long to wait for: it goes on from the last checkpoint")
            raise KeyboardInterrupt

    def _keep(self, **values: Any) -> None:
        with suppress(RlguideError):  # a full disk; the next change of the record has it, too
            self._run.update(**values)

    def _check_batch(self, event: Begun) -> None:
        record, said = self._run.record, ""
        if event.processes != (record.processes or event.processes):
            said = f"{event.processes} processes train, {record.processes} were planned: other batches and steps"
        elif event.batch is not None and event.batch != (record.effective_batch or event.batch):
            said = f"{event.batch} rows make an update, {record.effective_batch} were planned: other steps"
        if said:
            self._view.note(f"warning: {said}")
