"""What is known of a run while it trains: fed by its events, shown by `train` and by `watch`."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlguide.engine.events import Begun, Ended, EngineEvent, Lean, Logged, Progress, Raised, Saved, Saving
from rlguide.engine.hardware import GpuUse
from rlguide.engine.job import Event, Idle, Line, Started
from rlguide.runs.diagnosis.diagnose import LOOK_AGAIN
from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.diagnosis.first_step import StartCheck, check_start
from rlguide.runs.metrics import without_ties
from rlguide.runs.pace import Pace
from rlguide.runs.view.words import clock

STARTING = "starting the engine (its imports take about 10 s)"
TRAINING, EVALUATING, SAVING, ENDING = "training", "evaluating", "saving a checkpoint", "writing the result"

_QUIET = 120.0  # seconds without an event after which that is said: processes may wait for each other for ever

# What the engine is doing before the first step, as its log shows.
_PHASES = (
    (re.compile(r"Running tokenizer|Converting format"), "tokenizing the data"),
    (re.compile(r"Loading dataset"), "loading the data"),
    (re.compile(r"[Ll]oading (?:weights|checkpoint|configuration)|Loading checkpoint shards"), "loading the model"),
    (re.compile(r"Merged \d+ adapter|Loaded adapter"), "merging the SFT adapter"),
)


class RunState:
    """The state of a run.

    Args:
        name: how it is called.
        config: of the training.
        pace: what times it, by the same events; it counts the steps.
        now: the clock of events that have no time: seconds since the epoch.

    Attributes:
        phase: what it does: a phase before the first step, else one of the words above.
        rows: what was logged, each with its `step`, numbers only; those of training also with `tokens_per_second`
            where tokens are counted.
        latest: the last value of each figure, and its `step`.
        logged: the same as they were logged, NaN and infinities too.
        diagnosis: what finds faults in what was logged.
        gpus: what the GPUs do, where anybody asked.
        started: when this attempt began, of the same clock.
        planned: seconds that its plan gives it; None without one.
        check: what the first step showed; None before it.
        notes: what was said of it, warnings and other lines.
        raised: the exceptions of this attempt; is_over: whether it trains no more (`end`).
    """

    def __init__(
        self,
        name: str,
        config: Mapping[str, Any],
        pace: Pace,
        planned: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name, self.config, self.pace, self.planned, self.now = name, config, pace, planned, now
        self.phase = STARTING
        self.rows: list[dict[str, float]] = []
        self.latest: dict[str, float] = {}
        self.logged: list[Mapping[str, float]] = []
        self.diagnosis: Callable[[Sequence[Mapping[str, float]]], Sequence[Finding]] = lambda rows: ()
        self._found: tuple[float, Sequence[Finding]] = (1, ())  # which count until there are so many rows
        self.gpus: Sequence[GpuUse] = ()
        self.started = now()
        self.check: StartCheck | None = None
        self.notes: list[str] = []
        self.raised: list[Raised] = []
        self.is_over = False
        self._tokens: tuple[float, float] | None = None  # so many, and the seconds of training that they took

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.pace.step

    @property
    def total(self) -> int:
        """Optimizer steps of the whole run."""
        return self.pace.total

    def see(self, event: Event) -> None:
        """Take what happened."""
        if isinstance(event, Line):
            self._read(event.text)
        elif isinstance(event, Started):
            self.started, self.phase = self.now(), STARTING
        elif not isinstance(event, Idle):
            self.pace.see(event, event.time or self.now())
            self._take(event)

    def _read(self, line: str) -> None:
        """Recognize the phase before the first step in a line of the engine's log."""
        if self.phase in (TRAINING, EVALUATING, SAVING, ENDING):
            return
        for pattern, phase in _PHASES:
            if pattern.search(line):
                self.phase = phase

    def _take(self, event: EngineEvent) -> None:
        if isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, Progress):
            self.phase = EVALUATING if event.phase == "eval" else TRAINING
        elif isinstance(event, Logged) and event.kind != "summary":
            self._log(event)
        elif isinstance(event, Saving):
            self.phase = SAVING
        elif isinstance(event, Saved):
            self.phase = TRAINING
        elif isinstance(event, Ended):
            self.phase = ENDING
        elif isinstance(event, Raised):
            self.raised.append(event)
        elif isinstance(event, Lean) and self.phase == STARTING:
            self.phase = "loading the model"

    def _begin(self, event: Begun) -> None:
        """A training begins, perhaps from a checkpoint: what an earlier attempt did after it does not count."""
        self.phase, self.raised = TRAINING, []
        if event.time:
            self.started = min(self.started, event.time)
        before = [row for row in self.logged if row["step"] <= event.step]
        self.take_rows([row for row in self.rows if row["step"] <= event.step])
        self.logged = before
        self._tokens = (0.0, self.pace.training_seconds)

    def _log(self, event: Logged) -> None:
        row: dict[str, float] = {key: value for key, value in event.values.items() if abs(value) < 1e300}  # no NaN
        row["step"] = event.step
        if event.kind == "train":
            row |= self._speed(event)
            self._check_start(event)
        elif self.phase == EVALUATING:
            self.phase = ENDING if self.step >= self.total else TRAINING
        self.rows.append(row)
        self.logged.append({**event.values, "step": event.step})
        self.latest = without_ties({**self.latest, **row})

    @property
    def findings(self) -> Sequence[Finding]:
        """The diagnosis, the gravest first: as it stands, but of a long run only now and then (`LOOK_AGAIN`)."""
        if len(self.logged) >= self._found[0]:
            self.findings = self.diagnosis(self.logged)
        return self._found[1]

    @findings.setter
    def findings(self, found: Sequence[Finding]) -> None:
        self._found = (max(len(self.logged) + 1, len(self.logged) * LOOK_AGAIN), found)

    def _check_start(self, event: Logged) -> None:
        """Whether the first step shows that the reference is the starting policy."""
        if event.step == 1 and (check := check_start(self.config, event.values)) is not None:
            self.check = check
            note = check.message if check.ok else f"warning: {check.message}"
            self.notes += [note] * (note not in self.notes)  # it may have begun again

    def _speed(self, event: Logged) -> dict[str, float]:
        """Tokens a second since the log before this one: the engine's own count where it is asked for, else ours."""
        own = event.values.get("num_input_tokens_seen", 0.0)
        count, seconds = own or float(event.tokens), self.pace.training_seconds
        before, self._tokens = self._tokens, (count, seconds)
        if not 0 < count < math.inf or before is None or not before[0] < count or seconds <= before[1]:
            return {}
        if own and not before[0] and event.step > 1:
            return {}  # its count goes on where an earlier attempt ended
        return {"tokens_per_second": (count - before[0]) / (seconds - before[1])}

    def take_rows(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Take these for all that was logged."""
        self.rows = [dict(row) for row in rows]
        self.latest = {}
        for row in self.rows:
            self.latest = without_ties({**self.latest, **row})
        self.logged, self._found = list(self.rows), (1, ())

    def end(self, status: str) -> None:
        """It trains no more: time stands still at its last event, and it does what its status says."""
        last = self.pace.last or self.started
        self.is_over, self.phase, self.now = True, status, lambda: last

    def left(self) -> float | None:
        """Seconds that it still takes, by its plan before its speed is known; None without a plan, or at the end."""
        now = self.now()
        if self.is_over:
            return None
        left = self.pace.left(now)
        if left is None and self.planned and self.total and self.phase == TRAINING:
            left = max(0.0, self.planned * (1 - self.step / self.total))
        return left

    def elapsed(self) -> float:
        """Seconds since this attempt began."""
        return max(0.0, self.now() - self.started)

    def doing(self) -> str:
        """What it does now, in words; of an evaluation, how far it is; and whether it has told nothing for long."""
        silent = self._silence()
        quiet = f", silent for {clock(silent)}" if silent else ""
        return self._work() + quiet

    def _silence(self) -> float:
        """Seconds since the last event, where that is longer than a step and a save may be; else 0."""
        if self.is_over or self.pace.last is None:
            return 0.0
        silent = self.now() - self.pace.last
        return silent if silent > max(_QUIET, 10 * (self.pace.step_seconds() or 0.0)) else 0.0

    def _work(self) -> str:
        if self.phase != EVALUATING:
            return self.phase
        done, total = self.pace.batches
        left = self.pace.evaluation_left(self.now())
        batches = f": batch {done} of {total}" if total else ""
        return f"{EVALUATING}{batches}" + ("" if left is None else f", {clock(left)} left of it")

    def position(self) -> str:
        """Its place among its steps."""
        return f"step {self.step}/{self.total}"
