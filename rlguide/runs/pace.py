"""How long a run still takes: its steps, its evaluations and its saves are timed apart, and those to come are counted.

The one measurement of a run's speed: what is shown as time left, and what the next plan learns (`runs.planned`).
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Literal

from rlguide.engine.events import Begun, EngineEvent, Logged, Progress, Saved, Saving

Work = Literal["training", "evaluation", "saving"]
# An interval that took so many times the usual one for a step was something else: a host that slept, a process that
# was stopped. It is left out of the rate.
_ODD = 10
_RECENT = 1000  # intervals between two steps that make the rate
# An evaluation before any was seen, in times of what training on as many rows takes: two forward passes, of policy and
# reference, beside these and a backward pass, which costs as much as two.
_GUESS = 0.5
_SURE = 20  # batches, or a quarter of them, after which an evaluation's own speed is believed
_MOST = 100_000  # evaluations, or checkpoints, that are counted: a damaged file may say any number of steps
_SMALLEST = 0.5  # seconds: events of shorter steps are written that seldom (rlguide_worker/rlguide_events.py)


class Pace:
    """Times what a run does, by its events.

    Args:
        config: of the training, which says when it evaluates and saves.
        total: optimizer steps of the whole run.
        held_out: rows that an evaluation goes through; 0 where there is none.
        batch: rows of an optimizer step.

    Attributes:
        step: optimizer steps done.
        training_seconds: spent on steps in all, as far as events tell.
        last: when the last event happened; None before the first.
        batches: done and all batches of the evaluation in progress; zeros where that is not told.
    """

    def __init__(self, config: Mapping[str, Any], total: int, held_out: int = 0, batch: int = 0) -> None:
        self._config, self.total, self._held_out, self._batch = config, total, held_out, batch
        self.step = 0
        self.training_seconds = 0.0
        self._since_step = 0.0  # seconds of training since the last step that was told
        # (seconds, steps); the first, which warms up, does not count
        self._intervals: deque[tuple[float, int]] = deque(maxlen=_RECENT)
        self._is_warm = False
        self._evaluations: list[float] = []
        self._saves: list[float] = []
        self._done: dict[str, Counter[int]] = {"eval": Counter(), "save": Counter()}  # how often after which steps
        self._plans: dict[tuple[str, int, float], Counter[int]] = {}
        self.last: float | None = None
        self._work: Work = "training"
        self._begun = 0.0  # when the evaluation or the save began that goes on
        self.batches = (0, 0)
        self._per_epoch = 0.0

    def see(self, event: EngineEvent, now: float) -> None:
        """Take an event that happened at `now`, in seconds of any clock that does not go back."""
        if not isinstance(event, (Begun, Progress, Logged, Saving, Saved)):
            return
        past = max(0.0, now - self.last) if self.last is not None else 0.0
        self.last = now
        if isinstance(event, Begun):
            self._begin(event)
        elif isinstance(event, Progress) and event.phase == "eval":
            self._evaluate(event, past, now)
        elif isinstance(event, Progress):
            self._train(past, event.done)
        elif isinstance(event, Logged):
            self._log(event, past, now)
        elif isinstance(event, Saving):
            self._train(past, event.step)
            self._work, self._begun = "saving", now
        elif isinstance(event, Saved):
            if self._work == "saving":
                self._saves.append(now - self._begun)
            self._done["save"][event.step] += 1
            self._work = "training"

    def _begin(self, event: Begun) -> None:
        self.step, self.total = event.step, event.total or self.total
        self._batch = event.batch or self._batch
        self._intervals.clear()  # it may continue with other settings, or on another GPU
        self._since_step, self._is_warm, self._work = 0.0, False, "training"
        for key, done in self._done.items():
            self._done[key] = Counter({step: count for step, count in done.items() if step <= event.step})

    def _train(self, seconds: float, step: int) -> None:
        self._since_step += seconds
        self.training_seconds += seconds
        if step <= self.step:
            return
        if self._is_warm:
            self._intervals.append((self._since_step, step - self.step))
        self._is_warm, self._since_step, self.step, self._work = True, 0.0, step, "training"

    def _evaluate(self, event: Progress, past: float, now: float) -> None:
        if self._work != "evaluation":
            self._train(past if event.done == 0 else 0.0, self.step)
            self._work, self._begun = "evaluation", now if event.done == 0 else now - past
        self.batches = (event.done, event.total)

    def _log(self, event: Logged, past: float, now: float) -> None:
        epoch = event.values.get("epoch", 0.0)
        if 0 < epoch < math.inf and event.step:
            self._per_epoch = event.step / epoch
        if event.kind == "train":
            self._train(past, event.step)
        elif event.kind == "eval":
            seconds = event.values.get("eval_runtime", math.nan)
            is_told = 0 <= seconds < math.inf
            self._evaluations.append(seconds if is_told else now - self._begun if self._work == "evaluation" else past)
            self._done["eval"][event.step] += 1
            self.step = max(self.step, event.step)  # of older runs, whose worker did not tell the step before it
            self._work, self.batches = "training", (0, 0)

    def step_seconds(self) -> float | None:
        """Seconds of a step of training, without intervals that are odd; None before the second one."""
        if not self._intervals:
            return None
        usual = median(seconds / steps for seconds, steps in self._intervals)
        kept = [(seconds, steps) for seconds, steps in self._intervals if seconds <= _ODD * usual * steps]
        return sum(seconds for seconds, _ in kept) / sum(steps for _, steps in kept)

    def evaluation_seconds(self) -> float | None:
        """Seconds of an evaluation: as the last one took, else by its batches so far, else a guess."""
        if self._evaluations:
            return self._evaluations[-1]
        if self._is_far and self.last is not None:
            return (self.last - self._begun) / self.batches[0] * self.batches[1]
        step = self.step_seconds()
        return None if step is None else _GUESS * step * self._held_out / max(1, self._batch)

    def to_come(self, key: str = "eval") -> int:
        """Evaluations that are still to begin, with key "save" checkpoints that are still to be saved."""
        done, here = self._done[key], {"eval": "evaluation", "save": "saving"}[key]
        left = sum(max(0, count - done[step]) for step, count in self._due(key).items() if step >= self.step)
        return max(0, left - (self._work == here))

    def _due(self, key: str) -> Counter[int]:
        """How often it evaluates or saves after which steps."""
        asked = (key, self.total, self._epoch())
        if asked not in self._plans:
            self._plans = {**{old: plan for old, plan in self._plans.items() if old[0] != key}, asked: self._plan(key)}
        return self._plans[asked]

    def _plan(self, key: str) -> Counter[int]:
        """The same, as transformers 4.57 does it (DefaultFlowCallback)."""
        strategy, every = self._config.get(f"{key}_strategy"), self._config.get(f"{key}_steps")
        due: Counter[int] = Counter()
        if key == "save":
            strategy = strategy or "steps"
            due[self.total] += strategy == "steps"
        elif not self._held_out or strategy not in ("steps", "epoch"):
            return due
        if strategy == "epoch":
            ends = range(1, math.ceil(self.total / self._epoch() - 1e-6) + 1)[:_MOST]
            due.update(min(self.total, round(end * self._epoch())) for end in ends)
        elif strategy == "steps":
            every = every if isinstance(every, (int, float)) and 0 < every < math.inf else 500
            steps = max(1, math.ceil(every * self.total) if every < 1 else int(every))
            last = self.total if key == "eval" else self.total - 1  # at the end it saves anyway
            due.update(range(steps, last + 1, steps)[:_MOST])
        if key == "eval":
            due[self.total] += 1  # LLaMA-Factory evaluates once more when training has ended (train/dpo/workflow.py)
        return due

    def _epoch(self) -> float:
        """Steps of an epoch."""
        epochs = self._config.get("num_train_epochs", 3)
        told = self.total / epochs if isinstance(epochs, (int, float)) and epochs > 0 else self.total
        return max(1.0, self._per_epoch or told)

    def whole(self) -> float | None:
        """Seconds of the whole run from its first step to its end; None before its rate is known."""
        step = self.step_seconds()
        if step is None:
            return None
        evaluations = sum(self._due("eval").values()) * (self.evaluation_seconds() or 0.0)
        return step * self.total + evaluations + sum(self._due("save").values()) * _mean(self._saves)

    def left(self, now: float) -> float | None:
        """Seconds until the run has ended; None before its rate is known. `now`: of the clock of the events."""
        step = self.step_seconds()
        if step is None or self.last is None:
            return None
        since = max(0.0, now - self.last)
        evaluation, save = self.evaluation_seconds() or 0.0, _mean(self._saves)
        future = self.to_come() * evaluation + self.to_come("save") * save
        steps = (self.total - self.step) * step
        if self._work == "evaluation":
            return self._rest(now, evaluation) + steps + future
        if self._work == "saving":
            return max(0.0, save - (now - self._begun)) + steps + future
        if not steps:
            return max(0.0, future - since)
        return steps - min(self._since_step + since, max(step, _SMALLEST), steps) + future

    @property
    def _is_far(self) -> bool:
        """Whether the evaluation that goes on has done enough batches to tell how long they take."""
        done, total = self.batches
        return self._work == "evaluation" and total > 0 and done >= min(_SURE, total / 4) and done > 0

    def _rest(self, now: float, evaluation: float) -> float:
        """What is left of the evaluation that goes on: by its batches, once some are done, else by the last one."""
        done, total = self.batches
        if self._is_far:
            known = self.last if self.last is not None else now
            return max(0.0, (known - self._begun) / done * (total - done) - (now - known))
        return max(0.0, evaluation - (now - self._begun))

    def evaluation_left(self, now: float) -> float | None:
        """Seconds until the evaluation that goes on has ended; None where none goes on, or it cannot be told yet."""
        seconds = self.evaluation_seconds()
        return None if self._work != "evaluation" or seconds is None else self._rest(now, seconds)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
