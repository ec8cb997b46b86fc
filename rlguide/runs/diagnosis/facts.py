"""What the folder of a run says that its logs do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rlguide.errors import DataError
from rlguide.runs.diagnosis.logs import Facts, number
from rlguide.runs.record import EVALUATED, Run
from rlguide.workspace import read_json


def facts_of(run: Run) -> Facts:
    """What is known of a run beside its config and its logs."""
    record = run.record
    return Facts(
        processes=record.processes or 1,
        total_steps=record.total_steps or 0,
        is_over=run.status == "finished",
        data=record.data_figures or {},
        by_length=_by_length(run),
    )


def _by_length(run: Run) -> dict[str, tuple[float, float, float]]:
    """How often a reward model was right on held-out pairs, by whose response is longer; {} if it was not evaluated."""
    if run.method is None or run.method.stage != "rm":
        return {}
    try:
        groups = read_json(run.path / EVALUATED)["by_length"]
    except (DataError, LookupError, TypeError):
        return {}
    found = {}
    for group in groups if isinstance(groups, Iterable) else ():
        accuracy = group.get("accuracy") if isinstance(group, Mapping) else None
        if isinstance(accuracy, Mapping):
            found[str(group.get("name"))] = _interval(accuracy)
    return found


def _interval(accuracy: Mapping[str, Any]) -> tuple[float, float, float]:
    return (number(accuracy.get("value")), number(accuracy.get("ci95_low")), number(accuracy.get("ci95_high"), 1.0))
