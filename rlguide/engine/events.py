"""What happens in the engine's process, as its worker tells it (`rlguide_worker/rlguide_events.py`).

Metrics, steps and exceptions are never read from the engine's output: it prints rows of the training data, and a prompt
may look like a metric or an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Begun:
    """Training has begun after `step` steps of `total`, in `processes` processes.

    `batch`: rows for an update, over all processes; None where the engine does not say it.
    """

    step: int
    total: int
    processes: int
    batch: int | None = None


@dataclass(frozen=True)
class Progress:
    """`done` of `total`. `phase`: "train" (optimizer steps) or "eval" (batches; `total` is 0 if it is not known)."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Logged:
    """One log of the trainer after `step` steps. Numbers only; NaN and infinities stay what they are.

    `peak_bytes`: the most that the GPU's allocator ever held; 0 without a GPU.
    """

    step: int
    values: dict[str, float]
    peak_bytes: int = 0

    @property
    def kind(self) -> str:
        """ "train" (has `loss`), "eval" (has `eval_loss`) or "summary" (the end of train)."""
        if "train_runtime" in self.values:
            return "summary"
        return "eval" if any(key.startswith("eval_") for key in self.values) else "train"


@dataclass(frozen=True)
class Lean:
    """What the training does in less memory and time than the engine's own, and why not the rest: keys of run.json."""

    values: dict[str, Any]


@dataclass(frozen=True)
class DataFigures:
    """What the training data looks like in tokens (`rlguide_worker/data_figures.py`)."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Raised:
    """An exception and its causes, (type, message) each, the last one first; or exit codes of processes.

    Attributes:
        during: where it was raised: "start", "training" or "evaluation"; "" if that is not told.
        memory: what its process knew of its memory, in bytes (`engine.out_of_memory`).
    """

    chain: tuple[tuple[str, str], ...] = ()
    exit_codes: tuple[int, ...] = ()
    during: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)


EngineEvent = Begun | Progress | Logged | Lean | DataFigures | Raised


class Tail:
    """The lines that are appended to a file from now on, read as they are complete. A carriage return ends one, too."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.start = path.stat().st_size if path.exists() else 0
        self._position, self._rest = self.start, b""

    def lines(self, is_last: bool = False) -> Iterator[str]:
        """The new lines that are not empty; with `is_last` also one that has no end."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except FileNotFoundError:
            return
        self._position += len(data)
        *whole, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if is_last:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            if line.strip():
                yield line.decode("utf-8", "replace")


class EventReader:
    """Turns the lines of an event file into events. Remembers the number of steps, which only the beginning tells."""

    def __init__(self) -> None:
        self._total = 0

    def read(self, line: str) -> EngineEvent | None:
        """The event in a line; None for one that is damaged or of no interest here."""
        try:
            return self._event(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def _event(self, values: dict[str, Any]) -> EngineEvent | None:
        kind = values["event"]
        if kind == "begin":
            self._total = int(values["total_steps"])
            batch = values.get("batch")
            return Begun(int(values["step"]), self._total, int(values["processes"]), int(batch) if batch else None)
        if kind == "step":
            return Progress("train", int(values["step"]), self._total)
        if kind == "eval_batch":
            return Progress("eval", int(values["done"]), int(values["total"] or 0))
        if kind == "log":
            numbers = {str(key): float(value) for key, value in values["values"].items()}
            return Logged(int(values["step"]), numbers, int(values.get("peak") or 0))
        if kind in ("lean", "data"):
            told = {key: value for key, value in values.items() if key not in ("event", "time")}
            return Lean(told) if kind == "lean" else DataFigures(told)
        if kind == "error":
            chain = tuple((str(link["type"]), str(link["message"])) for link in values["chain"])
            return Raised(chain, during=str(values.get("during", "")), memory=dict(values.get("memory") or {}))
        if kind == "children":
            return Raised(exit_codes=tuple(int(code) for code in values["exit_codes"]))
        return None
