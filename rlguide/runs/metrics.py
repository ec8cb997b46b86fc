"""The numbers of a run: `metrics.jsonl`, one line per logged step, written while it runs and settled at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rlguide.errors import DataError
from rlguide.workspace import atomic_write, read_json, read_text

METRICS = "metrics.jsonl"


class MetricsLog:
    """Appends logged metrics to `metrics.jsonl` with their step, as they come. A context manager.

    What an earlier attempt logged after `start_step`, from which this one resumes, is dropped.
    """

    def __init__(self, path: Path, start_step: int = 0) -> None:
        rows = [row for row in read_metrics(path) if row.get("step", 0) <= start_step]
        with atomic_write(path) as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Record a log of training or evaluation after `step` steps; returns it with its step."""
        row = {"step": step, **values}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        return row


def settle_metrics(run_path: Path) -> list[dict[str, Any]]:
    """Rewrite `metrics.jsonl` from the trainer's own record, which has exact steps; returns its rows.

    Without a readable `trainer_state.json` (a run that did not come to its end) the rows collected on the way stay.
    So does the evaluation at the very end, which LLaMA-Factory does when that file is written already.
    """
    rows = _log_history(run_path / "trainer_state.json")
    evaluated = max((row["step"] for row in rows if "eval_loss" in row), default=-1)
    last = max((row["step"] for row in rows), default=0)
    later = [row for row in read_metrics(run_path / METRICS) if "eval_loss" in row and row["step"] > evaluated]
    rows += [row for row in later if rows and row["step"] >= last][-1:]
    if rows and any("reward" in row for row in rows):
        rows = [{**row, "step": row["step"] + 1} for row in rows]  # PPO's trainer counts from 0
    path = run_path / METRICS
    if rows:
        with atomic_write(path) as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")
        return rows
    return read_metrics(path)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`; a truncated last line is dropped."""
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
        if row := numbers_of(row):
            rows.append(row)
    return rows


def numbers_of(row: Any) -> dict[str, Any] | None:
    """The numbers of a row, if it is one: with a step, and nothing that cannot be drawn."""
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        return None
    return {key: value for key, value in row.items() if type(value) in (int, float) and -1e300 < value < 1e300}


def _log_history(path: Path) -> list[dict[str, Any]]:
    try:
        history = read_json(path)["log_history"]
    except (DataError, LookupError, TypeError):
        return []
    rows = []
    for item in history if isinstance(history, list) else ():
        row = numbers_of(item)
        if row is not None and ("loss" in row or "eval_loss" in row):
            rows.append({"step": row.pop("step"), **row})
    return rows


def without_ties(row: Mapping[str, float]) -> dict[str, float]:
    """The row without an accuracy that says nothing: the engine counts pairs with a margin of 0 as lost."""
    tied = {f"{group}rewards/accuracies" for group in ("", "eval_") if row.get(f"{group}rewards/margins") == 0}
    return {key: value for key, value in row.items() if key not in tied}


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """First and last training log, and the last evaluation."""
    train = [row for row in rows if "loss" in row]
    held_out = [row for row in rows if "eval_loss" in row]
    return {
        "first": train[0] if train else None,
        "last": train[-1] if train else None,
        "held_out": held_out[-1] if held_out else None,
    }
