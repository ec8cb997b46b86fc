"""The Optuna study of a sweep, on disk (`study.journal`): which settings are tried, and which trials are hopeless.

One rlguide at a time works on it (the sweep's lock), so that the journal needs no lock of its own, which a killed
process would leave behind. What a killed process wrote in part is cut off: a torn line would make all later ones
unreadable.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlguide.errors import DataError, UsageError, pip_install
from rlguide.sweeps.space import Choices, grid_points
from rlguide.sweeps.sweep import GRID, Sweep

JOURNAL = "study.journal"
# Of Optuna's MedianPruner: trials that must have ended before one is stopped (its default), and the share of the steps
# that a trial is left alone, in percent: the warm-up of the learning rate (10 % in the recipes) and as much again.
STARTUP_TRIALS, WARM_UP = 5, 20


def check_optuna() -> None:
    """Raise UsageError with the command that installs Optuna, where it is missing."""
    if find_spec("optuna") is None:
        raise UsageError("sweeps need Optuna, which is not installed", pip_install("rlguide[sweep]"))


class _NoLock:
    """What Optuna's journal asks of a lock. The sweep itself is locked."""

    def acquire(self) -> bool:
        """It is free."""
        return True

    def release(self) -> None:
        """Nothing is held."""


class Study:
    """The study of a sweep in its folder, made where there is none yet.

    A trial that was asked for stays open until it is told how it ended: so none is lost, and none is given out twice.

    Raises:
        DataError: its journal is damaged.
    """

    def __init__(self, folder: Path, sweep: Sweep) -> None:
        self._sweep = sweep
        self._settings: dict[int, dict[str, Any]] = {}
        self._path = folder / JOURNAL
        with _reading(self._path):
            self._study = _open(self._path, sweep)

    def numbers(self) -> list[int]:
        """The trials that were begun, by number."""
        return [trial.number for trial in self._trials() if trial.state.name != "WAITING"]

    def open_numbers(self) -> list[int]:
        """The trials that have begun and not ended."""
        return [trial.number for trial in self._trials() if trial.state.name == "RUNNING"]

    def pruned_numbers(self) -> list[int]:
        """The trials that were stopped because they were hopeless."""
        return [trial.number for trial in self._trials() if trial.state.name == "PRUNED"]

    def next(self) -> int | None:
        """Begin a trial; None where all were."""
        number = len(self.numbers())
        if number >= self._sweep.trials:
            return None
        with _reading(self._path):
            trial = self._study.ask()
            self._suggest(trial)
        return int(trial.number)

    def settings(self, number: int) -> dict[str, Any]:
        """The swept keys of a trial and their values, in the order in which they were given.

        Of one whose process was killed before it had all of them, they are drawn now, as they would have been then.
        """
        if number not in self._settings:
            with _reading(self._path):
                self._settings[number] = self._checked(self._suggest(self._trial(number)))
        return self._settings[number]

    def report(self, number: int, percent: int, value: float) -> None:
        """Note the held-out figure of a trial that has done so many percent of its steps."""
        if percent not in self._trials()[number].intermediate_values:
            with _reading(self._path):
                self._trial(number).report(value, percent)

    def is_hopeless(self, number: int) -> bool:
        """Whether a trial is worse so far than half of those that ended were at the same point."""
        with _reading(self._path):
            return bool(self._sweep.is_pruned and self._trial(number).should_prune())

    def tell(self, number: int, value: float | None, state: str) -> None:
        """Note how a trial ended: "COMPLETE" with its value, "PRUNED", or "FAIL"."""
        from optuna.trial import TrialState

        with _reading(self._path):
            self._study.tell(number, value, state=TrialState[state], skip_if_finished=True)

    def _checked(self, values: dict[str, Any]) -> dict[str, Any]:
        """The same. Raises ValueError for a value that is none of its key's: the journal may be somebody else's."""
        if not all(axis.holds(values[axis.key]) for axis in self._sweep.axes):
            raise ValueError("a value that is not in the space")
        return values

    def _trials(self) -> Sequence[Any]:
        found: Sequence[Any] = self._study.get_trials(deepcopy=False)
        return found

    def _trial(self, number: int) -> Any:
        from optuna.trial import Trial

        return Trial(self._study, self._trials()[number]._trial_id)

    def _suggest(self, trial: Any) -> dict[str, Any]:
        """The values of a trial; those that it has already are given again."""
        found: dict[str, Any] = {}
        for axis in self._sweep.axes:
            self._study.sampler = _sampler(f"{self._sweep.seed}:{trial.number}:{axis.key}")
            if isinstance(axis, Choices):
                found[axis.key] = trial.suggest_categorical(axis.key, list(axis.values))
            elif axis.is_whole:
                found[axis.key] = trial.suggest_int(axis.key, int(axis.low), int(axis.high), log=axis.is_log)
            else:
                found[axis.key] = trial.suggest_float(axis.key, axis.low, axis.high, log=axis.is_log)
        return found


def _sampler(seed: str) -> Any:
    """TPE (arXiv 2304.11127) with a seed of its own for each value that is drawn.

    One generator for all would begin anew when a sweep is resumed, and draw its first values once more.
    """
    from optuna.samplers import TPESampler

    number = random.Random(seed).randrange(2**32)
    return TPESampler(seed=number, constant_liar=True)  # a trial that runs counts as bad: its like is not drawn


def _open(path: Path, sweep: Sweep) -> Any:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    _drop_torn_line(path)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARM_UP)
    direction = "maximize" if sweep.objective.is_greater else "minimize"
    storage = JournalStorage(JournalFileBackend(str(path), _NoLock()))
    names = optuna.get_all_study_names(storage)  # of another name where the folder was renamed
    study = optuna.create_study(
        study_name=names[0] if names else sweep.name,
        storage=storage,
        pruner=pruner,
        direction=direction,
        load_if_exists=True,
    )
    if sweep.kind == GRID:  # each point waits there from the beginning; those that are there are not put again
        for point in grid_points(sweep.axes)[len(study.trials) :]:
            study.enqueue_trial(point)
    return study


def _drop_torn_line(path: Path) -> None:
    """Cut off what a killed process wrote of its last line. Raises ValueError for a link, which leads anywhere."""
    if path.is_symlink():
        raise ValueError("a link")
    if not path.exists():
        return
    with path.open("r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        os.fsync(file.fileno())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Without Optuna's warnings of what is experimental in some of its versions.

    Raises:
        DataError: for whatever Optuna raises of a journal that nobody foresaw. OSError: it cannot be read or written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except OSError:  # a full disk is no damage
            raise
        except Exception as error:
            raise DataError(
                f"the study {path} cannot be read ({type(error).__name__})",
                "put it back from a copy, or begin another sweep: --name NAME",
            ) from error
