"""How often a run prefers the chosen response of held-out pairs, with its interval, from what is on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlguide.catalog.best_by import rule_of
from rlguide.errors import DataError
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import Run
from rlguide.statistics import Estimate, exact_proportion
from rlguide.workspace import read_json

KEYS = ("eval_rewards/accuracies", "eval_accuracy")  # of a policy, of a reward model
RESULT = "eval/result.json"  # of `rlguide eval`


def held_out_accuracy(run: Run) -> Estimate | None:
    """The share of held-out pairs whose chosen response has the higher reward, at the run's best step.

    That of `rlguide eval`, where it was run on that step; else that of the evaluation during training, with the exact
    interval for as many pairs as were held out. None where nothing of the kind was measured.
    """
    best = best_step(run)
    step = best.step if best is not None else steps_done(run.path)
    return evaluated_accuracy(run, step) or logged_accuracy(run, read_metrics(run.path / METRICS), step)


def evaluated_accuracy(run: Run, step: int | None) -> Estimate | None:
    """The accuracy that `rlguide eval` has found at this step; None where it has not, or its file is damaged."""
    try:
        found = read_json(run.path / RESULT)
        accuracy = found["accuracy"]
        value, low, high = (float(accuracy[key]) for key in ("value", "ci95_low", "ci95_high"))
        of_step = found.get("step") or steps_done(run.path)  # earlier versions evaluated the end
    except (DataError, LookupError, TypeError, ValueError, AttributeError):
        return None
    count = accuracy.get("count")
    is_sound = 0 <= low <= value <= high <= 1 and isinstance(count, int) and of_step == step
    return Estimate(value, low, high, count) if is_sound else None


def logged_accuracy(run: Run, rows: Sequence[Mapping[str, Any]], step: int | None) -> Estimate | None:
    """The accuracy that was logged at this step; its interval is NaN where the number of pairs is not on record."""
    row = next((row for row in rows if row["step"] == step and any(key in row for key in KEYS)), None)
    if row is None:
        return None
    value = float(next(row[key] for key in KEYS if key in row))
    pairs = held_out_rows(run)
    if not 0 <= value <= 1 or pairs is None:
        return Estimate(value, math.nan, math.nan, 0)
    interval = exact_proportion(round(value * pairs), pairs)
    return Estimate(value, interval.low, interval.high, pairs)


def held_out_rows(run: Run) -> int | None:
    """How many pairs were evaluated during training; None if that is not on record."""
    counts = [count for count in (run.record.held_out or {}).values() if isinstance(count, int)]
    share, limit = run.config.get("val_size"), run.config.get("max_samples")
    if not counts and isinstance(share, int | float) and share > 0:
        trained = sum(count for count in (run.record.datasets or {}).values() if isinstance(count, int))
        counts = [math.ceil(trained * share) if share < 1 else int(share)]
    if isinstance(limit, int) and limit > 0 and run.record.held_out:
        counts = [min(count, limit) for count in counts]
    return sum(counts) or None


def rule_words(run: Run) -> str:
    """By what the best step of a run is known: "held-out loss"."""
    return rule_of(run.config).words
