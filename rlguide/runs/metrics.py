"""The numbers of a run: `metrics.jsonl`, one line per logged step, written while it runs and settled at its end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rlguide.engine.config_file import load_config
from rlguide.errors import DataError, RlguideError
from rlguide.policy.run_record import RUN_CONFIG
from rlguide.policy.trained_on import STATE
from rlguide.workspace import atomic_write, read_json, read_text

METRICS = "metrics.jsonl"
ACCURACIES = ("eval_rewards/accuracies", "eval_accuracy")  # of held-out pairs: of a policy, of a reward model
_LAST = 10**15  # no run has as many steps
_NOT_FINITE = ("nan", "inf", "-inf")


class MetricsLog:
    """Appends logged metrics to `metrics.jsonl` with their step, as they come. A context manager.

    What an earlier attempt logged after `start_step`, from which this one resumes, is dropped.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        rows = [row for row in read_rows(path) if row["step"] <= start_step]
        with atomic_write(path) as file:
            file.writelines(map(_line, rows))
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()

    def add(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Record a log of training or evaluation after `step` steps; returns it with its step."""
        row = {"step": step, **values}
        with suppress(OSError):  # of a full disk the engine will fail; its own record of the run has this, too
            self._file.write(_line(row))
            self._file.flush()
        return row


def settle_metrics(run_path: Path) -> list[dict[str, Any]]:
    """Rewrite `metrics.jsonl` from the trainer's own record, which has exact steps; returns its rows.

    The engine evaluates once more at the end, after it has written that record: it comes last.

    Without a readable `trainer_state.json` (a run that did not come to its end) the rows collected on the way stay.
    """
    rows = _log_history(run_path / STATE)
    if rows and any("reward" in row for row in rows):
        rows = [{**row, "step": row["step"] + 1} for row in rows]  # PPO's trainer counts from 0
    elif rows:
        rows += _last_evaluation(run_path, rows)
    path = run_path / METRICS
    if rows:
        with atomic_write(path) as file:
            file.writelines(map(_line, rows))
    return read_metrics(path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl` with the numbers that can be drawn; a truncated last line is dropped."""
    return [row for row in map(numbers_of, read_rows(path)) if row is not None]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, each with its step; NaN and infinities are text ("nan")."""
    rows = []
    try:
        lines = read_text(path).splitlines()
    except DataError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_row(row):
            rows.append(_written(row))
    return rows


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and type(row.get("step")) is int and abs(row["step"]) < _LAST


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(_written(row), allow_nan=False) + "\n"


def _written(row: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a row as the file holds them: JSON knows no NaN, and a reader must see that there was one."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if type(value) is float and not math.isfinite(value):
            found[key] = str(value)
        elif type(value) in (int, float) or value in _NOT_FINITE:
            found[key] = value
    return found


def numbers_of(row: Any) -> dict[str, Any] | None:
    """The numbers of a row, if it is one: with a step, and nothing that cannot be drawn."""
    return {key: value for key, value in row.items() if _is_number(value)} if _is_row(row) else None


def _log_history(path: Path) -> list[dict[str, Any]]:
    try:
        history = read_json(path)["log_history"]
    except (DataError, LookupError, TypeError):
        return []
    rows = []
    for item in history if isinstance(history, list) else ():
        if _is_row(item) and ("loss" in item or "eval_loss" in item):
            rows.append({"step": item["step"], **item})
    return rows


def _last_evaluation(run_path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The evaluation at the end, where it was of another step than the last one during training.

    With `load_best_model_at_end` it is of the best step, which is among the rows.
    """
    with suppress(RlguideError):
        if load_config(run_path / RUN_CONFIG).get("load_best_model_at_end"):
            return []
    try:
        step, found = read_json(run_path / STATE)["global_step"], read_json(run_path / "eval_results.json")
    except (DataError, LookupError, TypeError):
        return []
    row = numbers_of({**found, "step": step}) if isinstance(found, dict) else None
    is_new = row is not None and all(step > other["step"] for other in rows if "eval_loss" in other)
    return [{"step": step, **row}] if row is not None and is_new and "eval_loss" in row else []


def without_ties(row: Mapping[str, float]) -> dict[str, float]:
    """The row without an accuracy that says nothing: the engine counts pairs with a margin of 0 as lost."""
    tied = {f"{group}rewards/accuracies" for group in ("", "eval_") if row.get(f"{group}rewards/margins") == 0}
    return {key: value for key, value in row.items() if key not in tied}


def accuracy_of(row: Mapping[str, float]) -> float | None:
    """The held-out accuracy of an evaluation; None where it has none."""
    return next((row[key] for key in ACCURACIES if key in row), None)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """First and last training log, and the last evaluation."""
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "eval_loss" in row]
    return {
        "first": train[0] if train else None,
        "last": train[-1] if train else None,
        "held_out": held_out[-1] if held_out else None,
    }
