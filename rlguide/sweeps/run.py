"""A sweep from its first trial to its winner."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rlguide.console import progress, say
from rlguide.errors import UsageError
from rlguide.locks import Locked, locked
from rlguide.sweeps.conduct import Conductor, How
from rlguide.sweeps.screen import progress_line, trial_line
from rlguide.sweeps.study import Study
from rlguide.sweeps.sweep import FILE, Sweep, folder_of, resume_command, write_sweep
from rlguide.sweeps.trials import Trial
from rlguide.sweeps.winner import Winner, evaluate_best, winner_of
from rlguide.workspace import Workspace


def run_sweep(ws: Workspace, sweep: Sweep, how: How, evaluate: bool) -> tuple[list[Trial], Winner | None]:
    """Run all trials that are not done, then compare the best two; returns all trials, and the winner if there is one.

    Args:
        evaluate: score the held-out pairs with the two best.

    Raises:
        UsageError: another rlguide works on it. DataError: its study is damaged.
        RlguideError: the first trials all failed in the same way.
        KeyboardInterrupt: after all that ran was stopped, and it is said how to go on.
    """
    folder = folder_of(ws, sweep.name)
    with _alone(folder / FILE, sweep), _interrupted_is_said(sweep):
        if not (folder / FILE).exists():
            write_sweep(folder, sweep)
        study = Study(folder, sweep)
        at_once = f"{how.at_once} at a time{' in Slurm' if how.slurm is not None else ''}"
        say(f"sweep      {ws.relative(folder)}: {sweep.trials} trials by {sweep.objective.words}, {at_once}")
        with _shown(sweep, how.at_once) as see:
            trials = Conductor(ws, sweep, study, how, see).to_the_end()
        if evaluate and how.slurm is None:  # the host where it is typed may have no GPU
            evaluate_best(ws, sweep, trials, how)
        return trials, winner_of(ws, sweep, trials)


@contextmanager
def _alone(path: Path, sweep: Sweep) -> Iterator[None]:
    """Hold the sweep. Raises UsageError if another rlguide does."""
    lock = locked(path, timeout=0)
    try:
        lock.__enter__()
    except Locked:
        raise UsageError(
            f"another rlguide works on the sweep {sweep.name}",
            "wait for its end, or stop it with Ctrl-C in its terminal",
        ) from None
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


@contextmanager
def _interrupted_is_said(sweep: Sweep) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"stopped; what is done is kept. Resume with: {resume_command(sweep.name, sweep.launch)}")
        raise


@contextmanager
def _shown(sweep: Sweep, slots: int) -> Iterator[Callable[[list[Trial], int | None], None]]:
    """What shows the trials while they run: a line for each that begins or ends, and a bar on a terminal."""
    with progress("trials") as bar:
        task = bar.add_task("", total=sweep.trials)

        def see(trials: list[Trial], number: int | None) -> None:
            line = progress_line(sweep, trials, slots)
            done = int(line.split(" ", 1)[0])
            bar.update(task, description=line, completed=done, total=sweep.trials)
            if number is None:
                return
            trial = next(trial for trial in trials if trial.number == number)
            say(trial_line(sweep, trial))
            if not sys.stderr.isatty():
                say(line)

        yield see
