"""The figures of a run as the rules look at them: series of finite numbers, windows, and what is known of the run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

from rlguide.catalog.methods import Method, method_of

LARGEST = 1e30  # beyond it a number is as good as infinite, and its square still is a float
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Points = list[tuple[int, float]]  # (step, value), in the order of steps


def number(value: Any, otherwise: float = 0.0) -> float:
    """A finite number as a float, also of a text that YAML 1.1 leaves one ("5e-6"); `otherwise` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return otherwise
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return otherwise
    return found if abs(found) < LARGEST else otherwise


@dataclass(frozen=True)
class Facts:
    """What is known of a run beside its config and its logs.

    Attributes:
        processes: that train it.
        total_steps: planned; 0 if that is not known.
        is_over: it will take no further step.
        data: figures of the training data in tokens (`rlguide_worker/data_figures.py`).
        by_length: held-out accuracy of a reward model where the chosen response is "longer" or "shorter", with the
            bounds of its interval: (value, low, high).
    """

    processes: int = 1
    total_steps: int = 0
    is_over: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)
    by_length: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


class Logs:
    """The logs of a run, whatever its file says: what is no number is not there.

    Attributes:
        train, held_out: rows of training and of evaluations, each with its step and finite numbers only; of
            evaluations after the same step the last.
        step: the last of which anything is logged.
        not_finite: (step, key, value, whether it is of a training log) of NaN and infinities, in order.
    """

    def __init__(self, config: Mapping[str, Any], rows: Iterable[Any], facts: Facts | None = None) -> None:
        self.config, self.facts = config, facts or Facts()
        self.method: Method | None = method_of(config)
        self.loss = str(config.get("pref_loss") or "sigmoid") if self.method and self.method.losses else ""
        self.beta = number(config.get("pref_beta"), 0.1)
        self.train: list[dict[str, float]] = []
        self.not_finite: list[tuple[int, str, float, bool]] = []
        held_out: dict[int, dict[str, float]] = {}
        for row in rows:
            step = row.get("step") if isinstance(row, Mapping) else None
            if type(step) is not int or not 0 <= step < LARGEST:
                continue
            values = self._finite(row, step)
            if "loss" in row:
                self.train.append({**values, "step": step})
            if "eval_loss" in row:
                held_out.pop(step, None)
                held_out[step] = {**values, "step": step}
        self.held_out = list(held_out.values())
        self.step = int(max((row["step"] for row in (*self.train, *self.held_out)), default=0))

    def _finite(self, row: Mapping[Any, Any], step: int) -> dict[str, float]:
        values: dict[str, float] = {}
        for key, value in row.items():
            if isinstance(value, str):
                value = _NOT_FINITE.get(value.lower(), value)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if -LARGEST < value < LARGEST:
                values[str(key)] = float(value)
            elif isinstance(value, float):
                self.not_finite.append((step, str(key), value, "loss" in row))
        return values

    @property
    def total(self) -> float:
        """How many steps the run has, as planned or as its epochs say; 0 if nothing says it."""
        limit = number(self.config.get("max_steps"))
        if self.facts.total_steps > 0 or limit > 0:
            return self.facts.total_steps or limit
        epochs = number(self.config.get("num_train_epochs"), 3.0)  # transformers' default
        last = next((row for row in reversed(self.train) if row.get("epoch", 0) > 0), None)
        return last["step"] * epochs / last["epoch"] if last else 0.0

    @property
    def part(self) -> float:
        """How much of the run is done, 0 to 1; 1 if its length is not known."""
        total = self.total
        return 1.0 if self.facts.is_over or total <= 0 else min(1.0, self.step / total)

    def points(self, key: str, rows: Sequence[Mapping[str, float]] | None = None) -> Points:
        """The values of a key, of the training logs by default."""
        return [(int(row["step"]), row[key]) for row in (self.train if rows is None else rows) if key in row]

    def pairs_in(self, logs: Sequence[Mapping[str, float]]) -> float:
        """How many rows of the training data these consecutive logs are about."""
        if not logs:
            return 0.0
        batch = number(self.config.get("per_device_train_batch_size"), 8.0)
        size = batch * number(self.config.get("gradient_accumulation_steps"), 1.0) * max(1, self.facts.processes)
        before = [row["step"] for row in self.train if row["step"] < logs[0]["step"]]
        steps = logs[-1]["step"] - (before[-1] if before else 0)
        return max(1.0, size) * max(1.0, steps)

    def tail(self, pairs: float = 64, logs: int = 3) -> list[dict[str, float]]:
        """The last training logs: at least so many, about at least so many rows of the data; at most half of all."""
        half = max(1, len(self.train) // 2)
        for count in range(logs, half):
            if self.pairs_in(self.train[-count:]) >= pairs:
                return self.train[-count:]
        return self.train[-half:]


def mean_of(rows: Sequence[Mapping[str, float]], key: str) -> float | None:
    """The mean of a key over the rows that have it."""
    values = [row[key] for row in rows if key in row]
    return fmean(values) if values else None


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 of fewer than two values."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def smooth(points: Points) -> Points:
    """Means over neighbours, an eighth of the points and at most twenty-five; few points stay as they are.

    The lowest of many noisy values is low by chance; the lowest of their means is not.
    """
    width = min(25, max(1, len(points) // 8))
    return [
        (points[end - 1][0], fmean(value for _, value in points[end - width : end]))
        for end in range(width, len(points) + 1)
    ]
