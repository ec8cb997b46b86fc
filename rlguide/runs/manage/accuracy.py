"""How often a run prefers the chosen response of held-out pairs, with its interval, from what is on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlguide.errors import DataError
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.metrics import METRICS, accuracy_of, read_metrics, without_ties
from rlguide.runs.record import EVALUATED, Run
from rlguide.statistics import Estimate, proportion, read_estimate
from rlguide.workspace import read_json


def held_out_accuracy(run: Run) -> Estimate | None:
    """The share of held-out pairs whose chosen response has the higher reward, at the run's best step.

    That of `rlguide eval`, where it was run on that step; else that of the evaluation during training, with the
    interval for as many pairs as were held out. None where nothing of the kind was measured.
    """
    step = shown_step(run)
    return evaluated_figure(run, "accuracy", step) or _logged(run, read_metrics(run.path / METRICS), step)


def shown_step(run: Run) -> int | None:
    """The step whose figures are shown of a run: its best one, else its last."""
    best = best_step(run)
    return steps_done(run.path) if best is None else best.step


def evaluated_figure(run: Run, name: str, step: int | None) -> Estimate | None:
    """A figure that `rlguide eval` has found at this step; None where it has not, or its file is damaged."""
    try:
        found = read_json(run.path / EVALUATED)
    except DataError:
        return None
    if not isinstance(found, dict) or (found.get("step") or steps_done(run.path)) != step:
        return None  # without a step it was of the end, in earlier versions
    return read_estimate(found.get(name))


def _logged(run: Run, rows: Sequence[Mapping[str, Any]], step: int | None) -> Estimate | None:
    """The accuracy that was logged at this step; its interval is NaN where the number of pairs is not on record."""
    found = (without_ties(row) for row in rows if row["step"] == step)
    value, pairs = next((share for row in found if (share := accuracy_of(row)) is not None), None), run.held_out_rows
    if value is None:
        return None
    if not 0 <= value <= 1 or not pairs:
        return Estimate(value, math.nan, math.nan, 0)
    interval = proportion(round(value * pairs), pairs)
    return Estimate(value, interval.low, interval.high, pairs)
