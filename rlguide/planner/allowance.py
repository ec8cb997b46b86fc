"""What CUDA and its allocator added to the tensors where memory ran out: a plan for such a GPU allows for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rlguide.engine.out_of_memory import figures_of
from rlguide.policy.run_record import RunRecord


def seen_allowance(records: Iterable[RunRecord], is_same: Callable[[str], bool]) -> int:
    """The most bytes that were lost beside the tensors when memory ran out on a kind of GPU; 0 if it never did.

    Failures while other processes held a tenth of the GPU or more say nothing of the training, and are left out.

    Args:
        records: of the runs.
        is_same: whether a GPU of this name, as the driver calls it, is of that kind.
    """
    found = [0]
    for failure in _failures(records):
        told = failure.get("figures")
        figures = figures_of("", told if isinstance(told, dict) else {})
        is_alone = figures.total is not None and (figures.others or 0) < figures.total / 10
        if failure.get("memory") == "gpu" and is_alone and is_same(str(failure.get("device"))):
            found.append(figures.overhead or 0)
    return max(found)


def _failures(records: Iterable[RunRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        failures = [attempt.get("failure") for attempt in record.attempts or ()]
        yield from (failure for failure in (*failures, record.failure) if isinstance(failure, dict))
