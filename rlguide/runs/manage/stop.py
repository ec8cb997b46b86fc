"""Stop a training from any terminal, as Ctrl-C in its own would."""

from __future__ import annotations

import os
import shlex
import signal
import time

from rlguide.console import printable, say
from rlguide.engine.process import is_alive, stop_group
from rlguide.engine.running import held, holders
from rlguide.errors import RlguideError, UsageError
from rlguide.runs.manage.listed import state_of_run
from rlguide.runs.record import Run, find_runs, open_run
from rlguide.runs.slurm.stop import stop_job
from rlguide.runs.training.settle import settle_interrupted, stopped_words
from rlguide.workspace import Workspace

# Seconds that the rlguide of a run gets to stop what it started (engine.process: 30 at most) and to write its record.
PATIENCE = 60.0
_STOPPABLE = ("running", "queued", "unknown")
_POLL = 0.1


def running_run(ws: Workspace, name: str | None) -> Run:
    """The run of that name, which must be training, else the only one that is.

    Raises:
        UsageError: it is not training, none is, or several are. RlguideError: it was started on another host.
        DataError: its record is damaged.
    """
    if name is not None:
        run = open_run(ws, name)
        state = state_of_run(run)
        if state == "elsewhere":
            raise _out_of_reach(run)
        if state not in _STOPPABLE:
            run = _read_again(ws, run)  # it may have ended since
            raise UsageError(f"{run.name} is not training: it is {run.status}", run.next_step)
        return run
    running = [run for run in find_runs(ws) if run.status in ("running", "queued")]
    if not running:
        raise UsageError(f"nothing under {ws.saves} is training", "`rlguide runs` lists what was trained")
    if len(running) > 1:
        names = ", ".join(run.name for run in running)
        raise UsageError(
            f"several runs are training: {names}", f"name one: `rlguide stop {shlex.quote(running[0].name)}`"
        )
    return running[0]


def stop(ws: Workspace, run: Run) -> Run:
    """End a training as Ctrl-C does, and return the run as its record says then.

    The rlguide that trains it, where it is alive, is told to, and writes the record itself; else the engine's process
    group is ended, and the record written here.

    Raises:
        RlguideError: it trains where this process cannot reach it, or it did not end.
    """
    say(f"stopping {run.name}")
    if run.slurm_job is not None:
        return _settled(ws, stop_job(ws, run))
    if watchers := _watchers(run):
        _interrupt(run, watchers)
    run = _read_again(ws, run)
    if run.status == "running" and run.record.pid is not None:
        stop_group(run.record.pid)
        run = _read_again(ws, run)
    if run.status == "running":
        raise _out_of_reach(run)
    return _settled(ws, run)


def _settled(ws: Workspace, run: Run) -> Run:
    """The run with the record that it is to have, now that nothing trains it; says how it is resumed."""
    with held(run.path, run.name):
        run = _read_again(ws, run)  # nothing writes it any more
        if run.record.is_open:
            settle_interrupted(run)
            return run
    say(f"{run.name} had finished already" if run.status == "finished" else stopped_words(run))
    return run


def _out_of_reach(run: Run) -> RlguideError:
    where = printable(run.host_elsewhere) or "another host"
    return RlguideError(
        f"{run.name} was started on {where}, or is another user's: no process of it was found here",
        f"stop it there: `rlguide stop {shlex.quote(run.name)}`",
    )


def _read_again(ws: Workspace, run: Run) -> Run:
    """The run as its record says now."""
    return open_run(ws, str(run.path))


def _watchers(run: Run) -> list[int]:
    """The processes that hold the run's folder and are not the engine's: its rlguide."""
    found = []
    for pid in holders(run.path):
        try:
            is_of_engine = run.record.pid is not None and os.getpgid(pid) == run.record.pid
        except OSError:
            continue
        if not is_of_engine and pid != os.getpid():
            found.append(pid)
    return found


def _interrupt(run: Run, watchers: list[int]) -> None:
    """Tell the rlguide of a run to stop, and wait until it is gone.

    By SIGTERM, which it takes as Ctrl-C: where it was started in the background, the shell has it ignore SIGINT. One
    that was suspended (Ctrl-Z) is continued, so that it takes it.

    Raises:
        RlguideError: it did not end.
    """
    for pid in watchers:
        for number in (signal.SIGTERM, signal.SIGCONT):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
    deadline = time.monotonic() + PATIENCE
    while any(is_alive(pid) and pid in holders(run.path) for pid in watchers):
        if time.monotonic() > deadline:
            numbers = " ".join(map(str, watchers))
            raise RlguideError(
                f"{run.name} did not stop within {PATIENCE:.0f} s (process {numbers})",
                f"kill it: `kill -9 {numbers}`, then run `rlguide stop {shlex.quote(run.name)}` again",
            )
        time.sleep(_POLL)
