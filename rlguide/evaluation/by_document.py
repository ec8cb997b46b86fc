"""Two models on the same documents of a benchmark: their difference, with an interval where it is a mean over them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.statistics import Estimate, paired

INTERVAL = "bootstrap over documents"


@dataclass(frozen=True)
class _Value:
    """What a document adds: `total` of `count`, as 1 of 1 for a right answer, or 2 of 3 instructions followed."""

    task: str
    total: float
    count: int


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[Estimate, str]:
    """The difference of two figures of the worker (`rlguide_worker/benchmarks.py`), and how its interval was found.

    Documents are matched by task and id, and resampled in pairs. That is only right where lm-eval's own figure is a
    mean over them: of all alike, or of tasks alike (as it is for groups that do not weigh by size), or of what is
    counted in them (IFEval's instructions). Which of these it is, is found by computing it; where none gives lm-eval's
    figures, or where the documents are not the same, the interval is infinite and its name "".
    """
    difference = new["value"] - old["value"]
    rows = _matched(old, new)
    for weigh in (_alike, _by_task) if rows is not None else ():
        before, after = (weigh(side) for side in rows or ())
        if _is_mean(before, old["value"]) and _is_mean(after, new["value"]):
            totals = [[value.total for value in side] for side in (before, after)]
            counts = [value.count for value in before]
            return paired(totals[0], totals[1], counts=None if set(counts) == {1} else counts), INTERVAL
    n = sum(len(part["ids"]) for part in new["documents"])
    return Estimate(difference, -math.inf, math.inf, n), ""


def _matched(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[_Value], list[_Value]] | None:
    """The values of the same documents in the same order; None where they differ, or one has no value of its own."""
    if [_documents(part) for part in old["documents"]] != [_documents(part) for part in new["documents"]]:
        return None
    before, after = (list(_values(figure)) for figure in (old, new))
    if not before or any(math.isnan(value.total) for value in (*before, *after)):
        return None
    if [value.count for value in before] != [value.count for value in after]:
        return None
    return before, after


def _documents(part: Mapping[str, Any]) -> tuple[Any, ...]:
    return part["task"], part["ids"], part["digest"]


def _values(figure: Mapping[str, Any]) -> Iterator[_Value]:
    for part in figure["documents"]:
        for value in part["values"]:
            if isinstance(value, list):
                yield _Value(part["task"], float(sum(value)), len(value))
            else:
                yield _Value(part["task"], math.nan if value is None else float(value), 1)


def _alike(values: Sequence[_Value]) -> Sequence[_Value]:
    """Values whose mean is all that is counted over how much there is of it."""
    return values


def _by_task(values: Sequence[_Value]) -> Sequence[_Value]:
    """Values whose mean is that of the means of the tasks."""
    counts: dict[str, int] = defaultdict(int)
    for value in values:
        counts[value.task] += value.count
    share = len(values) / len(counts)
    return [_Value(value.task, value.total * share / counts[value.task], 1) for value in values]


def _is_mean(values: Sequence[_Value], wanted: float) -> bool:
    mean = math.fsum(value.total for value in values) / sum(value.count for value in values)
    return math.isclose(mean, wanted, rel_tol=1e-6, abs_tol=1e-9)
