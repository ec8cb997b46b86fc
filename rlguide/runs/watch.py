"""What is made of each event of a training."""

from __future__ import annotations

from rlguide.engine.events import Begun, DataFigures, Lean, Logged, Progress
from rlguide.engine.job import Event, Started
from rlguide.runs.diagnosis.first_step import StartCheck, check_start
from rlguide.runs.diagnosis.stopping import StopOn
from rlguide.runs.live import TrainingView
from rlguide.runs.metrics import MetricsLog
from rlguide.runs.planned import Stopwatch
from rlguide.runs.plots import preload_plots
from rlguide.runs.record import Run


class Watch:
    """Takes what the engine does to the screen, to `metrics.jsonl` and to the record.

    Attributes:
        check: what the first step showed; None before it.
        during: what it does: "start" before the first step, then "training" or "evaluation".
        stopwatch: times its steps beside its plan.
    """

    def __init__(self, run: Run, view: TrainingView, log: MetricsLog, stop_on: StopOn, is_from_start: bool) -> None:
        self._run, self._view, self._log, self._is_from_start = run, view, log, is_from_start
        self._stop_on = stop_on
        self.check: StartCheck | None = None
        self.during = "start"
        self.stopwatch = Stopwatch(run)

    def __call__(self, event: Event) -> None:
        self._view.handle(event)
        self.stopwatch.see(event)
        if isinstance(event, Started):
            self._run.update(status="running", pid=event.pid, failure=None)
            preload_plots()
        elif isinstance(event, Lean):
            self._run.update(lean=event.values)
        elif isinstance(event, DataFigures):
            self._run.update(data_figures=event.values)
        elif isinstance(event, Begun):
            self.during = "training"
            self._check_batch(event)
        elif isinstance(event, Progress):
            self.during = "evaluation" if event.phase == "eval" else "training"
        elif isinstance(event, Logged) and event.kind != "summary":
            row = self._log.add(event.step, event.values)
            self._view.metrics(row)
            if event.kind == "train" and event.step == 1 and self._is_from_start:
                self._check_start(row)
            if finding := self._stop_on.see(row):
                self._view.note(f"stopping after this step ({finding.rule}): {finding.seen}")

    def _check_batch(self, event: Begun) -> None:
        record, said = self._run.record, ""
        if event.processes != (record.processes or event.processes):
            said = f"{event.processes} processes train, {record.processes} were planned: other batches and steps"
        elif event.batch is not None and event.batch != (record.effective_batch or event.batch):
            said = f"{event.batch} rows make an update, {record.effective_batch} were planned: other steps"
        if said:
            self._view.note(f"warning: {said}")

    def _check_start(self, row: dict[str, float]) -> None:
        self.check = check_start(self._run.config, row)
        if self.check:
            self._view.note(self.check.message if self.check.ok else f"warning: {self.check.message}")
