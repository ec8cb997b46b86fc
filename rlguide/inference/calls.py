"""Many requests at once, each in a thread of its own, watched by the one that waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rlguide.errors import EngineError

if TYPE_CHECKING:
    from rlguide.inference.wire import Caller

Job = Callable[["Caller"], Iterator[Any]]
_LOOK = 0.2  # seconds between two looks at the clock
_DONE = object()


def call(
    jobs: Sequence[Job], open_caller: Callable[[threading.Event], Caller], threads: int
) -> Iterator[tuple[int, Any]]:
    """Yield (place of a job, what it gives) as it comes; in place of it the error that ended the job.

    Ending the iteration early (also by Ctrl-C) ends what is in progress: no thread is waited for, and none keeps the
    process alive.

    Raises:
        EngineError: a request takes longer than it may, though bytes of it may still drip.
    """
    stopped = threading.Event()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    results: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for place in range(len(jobs)):
        waiting.put(place)
    callers = [open_caller(stopped) for _ in range(min(threads, len(jobs)))]
    for caller in callers:
        threading.Thread(target=_work, args=(caller, jobs, waiting, results, stopped), daemon=True).start()
    left = len(jobs)
    try:
        while left:
            if any(caller.is_overdue() for caller in callers):
                raise _overdue(callers[0])
            try:
                place, value = results.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if value is _DONE or isinstance(value, BaseException):
                left -= 1
            if value is not _DONE:
                yield place, value
    finally:
        stopped.set()
        for caller in callers:
            caller.cancel()


def _work(
    caller: Caller,
    jobs: Sequence[Job],
    waiting: queue.SimpleQueue[int],
    results: queue.SimpleQueue[tuple[int, Any]],
    stopped: threading.Event,
) -> None:
    try:
        while not stopped.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                for value in jobs[place](caller):
                    results.put((place, value))
                    if stopped.is_set():
                        return
                results.put((place, _DONE))
            except BaseException as error:  # whoever waits for it raises it
                results.put((place, error))
    finally:
        caller.close()


def _overdue(caller: Caller) -> EngineError:
    return EngineError(
        f"{caller.address.url} did not respond within {caller.limits.total:,.0f} s",
        "ask for less with --max-new-tokens or --concurrency; what has come is kept",
    )
