"""Run the trials of a sweep to their end, some at the same time: begin, resume, stop early, note what each came to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any

from rlguide.engine.interrupts import interrupts_held
from rlguide.errors import RlguideError
from rlguide.sweeps.process import TrialProcess, lock_of, running_trial, start_trial
from rlguide.sweeps.slurm import InSlurm, job_failure, submit_trials
from rlguide.sweeps.space import settings_of
from rlguide.sweeps.study import Study
from rlguide.sweeps.sweep import Sweep, folder_of, resume_command, write_sweep
from rlguide.sweeps.trials import (
    FAILED,
    FINISHED,
    INTERRUPTED,
    PRUNED,
    QUEUED,
    RUNNING,
    STOPPED,
    WAITING,
    Reports,
    Trial,
    look_at,
    name_of,
    run_name,
    run_of,
)
from rlguide.workspace import Workspace

POLL = 1.0  # seconds between two looks at the trials that run
_SHOWN = 5  # looks between two calls of `see` for which nothing has begun or ended
SAME_FAILURES = 3  # in a row, none of them finished: the next would fail, too


@dataclass(frozen=True)
class How:
    """Where trials run.

    Attributes:
        slots: the GPUs of each trial that may run at the same time, as CUDA_VISIBLE_DEVICES names them; "" for all.
        train: options of `rlguide train` that all trials share.
        beside: options of every rlguide that is started: the workspace, the engine.
        resumed: options of `rlguide train --resume`: what no record decides.
        slurm: of trials that are jobs of a Slurm cluster.
    """

    slots: tuple[str, ...] = ("",)
    train: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    resumed: tuple[str, ...] = ()
    slurm: InSlurm | None = None

    @property
    def at_once(self) -> int:
        """Trials that run at the same time."""
        return len(self.slots) if self.slurm is None else min(len(self.slots), self.slurm.at_once)


@dataclass
class Conductor:
    """The trials of one sweep.

    Args:
        see: called with all trials when one has begun or ended, and with the number of it; and with None in between.
    """

    ws: Workspace
    sweep: Sweep
    study: Study
    how: How
    see: Callable[[list[Trial], int | None], None] = lambda trials, number: None
    _running: dict[int, TrialProcess] = field(default_factory=dict)
    _hopeless: set[int] = field(default_factory=set)
    _reports: dict[int, Reports] = field(default_factory=dict)
    _given_up: dict[int, str] = field(default_factory=dict)  # trials that failed since it began, with the cause
    _known: dict[int, Trial] = field(default_factory=dict)  # trials that have ended

    def to_the_end(self) -> list[Trial]:
        """Run all that is not done, and return all trials.

        Raises:
            RlguideError: the first trials all failed in the same way.
            KeyboardInterrupt: after all that ran was stopped.
        """
        with self._stopped_at_the_end():
            waiting = self._adopt()
            for turn in count():
                for number in list(self._running):
                    self._look(number)
                self._check_failures()
                while (free := self._free_slots()) and (batch := list(islice(waiting, len(free)))):
                    self._begin_all(batch)
                if not self._running:
                    return self.trials()
                if turn % _SHOWN == 0:
                    self.see(self.trials(), None)
                time.sleep(POLL)
            raise AssertionError("a sweep ends above")

    def trials(self) -> list[Trial]:
        """All trials as they stand now, those that were not begun left out."""
        return [self._trial(number) for number in self.study.numbers()]

    def _trial(self, number: int) -> Trial:
        if number in self._known:
            return self._known[number]
        pruned = self._hopeless | set(self.study.pruned_numbers())
        trial = look_at(self.ws, self.sweep, number, self.study.settings(number), number in pruned)
        if number in self._running and trial.state not in (FINISHED, QUEUED):
            return replace(trial, state=RUNNING, cause="")
        if number in self._given_up and trial.state == WAITING:  # it ended before it had a run, without a word
            return replace(trial, state=FAILED, cause=self._given_up[number])
        if trial.is_done and number not in self._running:
            self._known[number] = trial
        return trial

    def _adopt(self) -> Iterator[int]:
        """Take over the trials that still run; then the numbers of those to begin, the ones that were begun first."""
        open_numbers = self.study.open_numbers()
        for number in open_numbers:
            process = running_trial(self.ws, self.sweep, number)
            if process is not None:
                self._running[number] = process
                self.see(self.trials(), number)
        rest = [number for number in open_numbers if number not in self._running]
        return self._to_begin(rest)

    def _to_begin(self, open_numbers: Sequence[int]) -> Iterator[int]:
        yield from open_numbers
        while (number := self.study.next()) is not None:
            yield number

    def _free_slots(self) -> list[str]:
        """The slots that no trial has; of one that is not known any more (a trial that was adopted), any is taken."""
        free = list(self.how.slots)
        for process in self._running.values():
            with suppress(ValueError, IndexError):
                free.remove(process.slot if process.slot in free else free[0])
        return free

    def _begin_all(self, numbers: Sequence[int]) -> None:
        """Start trials, or resume them; one that has ended by itself meanwhile is only noted."""
        fresh: dict[int, dict[str, Any]] = {}
        for number in numbers:
            settings = self.study.settings(number)
            trial = look_at(self.ws, self.sweep, number, settings)
            if trial.state in (FINISHED, STOPPED):
                self._settle(number)
            elif run_of(self.ws, self.sweep, number) is None:
                fresh[number] = settings
            else:
                self._start(number, ["train", "--resume", run_name(self.sweep, number), *self.how.resumed])
        if self.how.slurm is not None and fresh:
            submit_trials(self.ws, self.sweep, fresh, self.how.slurm)
            for number in fresh:
                lock = lock_of(self.ws, self.sweep, number)
                self._running[number] = TrialProcess(self.ws, self.sweep, number, lock, "")
                self._begun(number)
            return
        for number, settings in fresh.items():
            swept = [word for setting in settings_of(settings) for word in ("--set", setting)]
            self._start(number, ["train", *self.how.train, *swept, "-o", run_name(self.sweep, number)])

    def _start(self, number: int, arguments: Sequence[str]) -> None:
        slot = self._free_slots()[0]
        with interrupts_held():  # until it is among those that are stopped
            process = start_trial(self.ws, self.sweep, number, [*arguments, *self.how.beside], slot)
            self._running[number] = process
        self._begun(number)

    def _begun(self, number: int) -> None:
        self._write()
        self.see(self.trials(), number)

    def _look(self, number: int) -> None:
        """Pass on the held-out figures of a trial; stop it if it is hopeless; note its end."""
        process, is_over = self._running[number], self._running[number].is_over
        self._report(number)
        if is_over:
            del self._running[number]
            self._settle(number)
        elif number not in self._hopeless and self.study.is_hopeless(number):
            self._hopeless.add(number)
            process.ask_to_stop()

    def _report(self, number: int) -> None:
        run = run_of(self.ws, self.sweep, number)
        if run is None:
            return
        for percent, value in self._reports.setdefault(number, Reports()).new(run, self.sweep.objective):
            self.study.report(number, percent, value)

    def _settle(self, number: int) -> None:
        """Note in the study how a trial ended. One that failed stays open: it is tried again by the next resuming."""
        self._report(number)
        trial = self._trial(number)
        if trial.state == FINISHED and trial.value is not None:
            self.study.tell(number, trial.value, "COMPLETE")
        elif trial.state == PRUNED:
            self.study.tell(number, None, "PRUNED")
        elif trial.state in (FINISHED, STOPPED):
            self.study.tell(number, None, "FAIL")
        else:
            # Interrupted: a person stopped it (`rlguide stop`); that is no reason to give up the others.
            cause = trial.cause or job_failure(self.ws, self.sweep, number)
            if trial.state != INTERRUPTED:
                cause = cause or f"it ended without a word, see {trial.run}.log"
            self._given_up[number] = cause
        self._write()
        self.see(self.trials(), number)

    def _check_failures(self) -> None:
        causes = [cause.replace(name_of(number), "TRIAL") for number, cause in self._given_up.items() if cause]
        last = causes[-SAME_FAILURES:]
        if len(last) < SAME_FAILURES or len(set(last)) > 1 or any(t.state == FINISHED for t in self.trials()):
            return
        number = list(self._given_up)[-1]
        again = resume_command(self.sweep.name, self.sweep.launch)
        raise RlguideError(
            f"{len(causes)} trials failed in the same way, and none has finished: {self._given_up[number]}",
            f"see {run_name(self.sweep, number)}.log; when that is put right: `{again}`",
        )

    def _write(self) -> None:
        write_sweep(folder_of(self.ws, self.sweep.name), self.sweep, [trial.as_dict() for trial in self.trials()])

    @contextmanager
    def _stopped_at_the_end(self) -> Iterator[None]:
        """Whatever ends the block early, the trials that run are stopped, so that each can be resumed."""
        try:
            yield
        except BaseException:
            for process in self._running.values():
                process.ask_to_stop()
            for process in self._running.values():
                process.wait()
            self._running.clear()
            with suppress(RlguideError):
                self._write()
            raise
