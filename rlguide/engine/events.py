"""What happens in the engine's process, as its worker tells it (`rlguide_worker/rlguide_events.py`).

Metrics, steps and exceptions are never read from the engine's output: it prints rows of the training data, and a prompt
may look like a metric or an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class _Told:
    """`time`: when it happened, in seconds since the epoch; 0 where that is not told."""

    time: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Begun(_Told):
    """Training has begun after `step` steps of `total`, in `processes` processes.

    `batch`: rows for an update, over all processes; None where the engine does not say it.
    """

    step: int
    total: int
    processes: int
    batch: int | None = None


@dataclass(frozen=True)
class Progress(_Told):
    """`done` of `total`. `phase`: "train" (optimizer steps) or "eval" (batches; `total` is 0 if it is not known).

    An evaluation begins with 0 done.
    """

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Logged(_Told):
    """One log of the trainer after `step` steps. Numbers only; NaN and infinities stay what they are.

    Attributes:
        peak_bytes: the most that the GPU's allocator ever held; 0 without a GPU.
        tokens: that were trained on since training began, without padding; 0 where that is not counted.
    """

    step: int
    values: dict[str, float]
    peak_bytes: int = 0
    tokens: int = 0

    @property
    def kind(self) -> str:
        """ "train" (has `loss`), "eval" (has `eval_loss`) or "summary" (the end of train)."""
        # With include_num_input_tokens_seen each log of training has a train_runtime (transformers 4.57, Trainer.log).
        if "train_runtime" in self.values and "loss" not in self.values:
            return "summary"
        return "eval" if any(key.startswith("eval_") for key in self.values) else "train"


@dataclass(frozen=True)
class Saving(_Told):
    """A checkpoint is about to be saved after `step` steps."""

    step: int


@dataclass(frozen=True)
class Saved(_Told):
    """A checkpoint was saved after `step` steps."""

    step: int


@dataclass(frozen=True)
class Ended(_Told):
    """The steps of training are done; what is left is the last evaluation, if there is one, and the result's files."""

    step: int


@dataclass(frozen=True)
class Lean(_Told):
    """What the training does in less memory and time than the engine's own, and why not the rest: keys of run.json."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Surroundings(_Told):
    """What the engine's process runs on: "python", "cuda" (that torch was built for) and "devices" (names of GPUs)."""

    values: dict[str, Any]


@dataclass(frozen=True)
class DataFigures(_Told):
    """What the training data looks like in tokens (`rlguide_worker/data_figures.py`)."""

    values: dict[str, Any]


@dataclass(frozen=True)
class Raised(_Told):
    """An exception and its causes, (type, message) each, the last one first; or exit codes of processes.

    Attributes:
        during: where it was raised: "start", "training" or "evaluation"; "" if that is not told.
        memory: what its process knew of its memory, in bytes (`engine.out_of_memory`).
    """

    chain: tuple[tuple[str, str], ...] = ()
    exit_codes: tuple[int, ...] = ()
    during: str = ""
    memory: Mapping[str, Any] = field(default_factory=dict)


EngineEvent = Begun | Progress | Logged | Saving | Saved | Ended | Lean | Surroundings | DataFigures | Raised
_AT_STEP: dict[str, type[Saving | Saved | Ended]] = {"saving": Saving, "save": Saved, "end": Ended}
_AS_TOLD: dict[str, type[Lean | DataFigures]] = {"lean": Lean, "data": DataFigures}


class Tail:
    """The lines that are appended to a file from now on, read as they are complete. A carriage return ends one, too.

    `start`: the byte to begin at, instead of where the file ends now.
    """

    def __init__(self, path: Path, start: int | None = None) -> None:
        self.path = path
        self.start = start if start is not None else path.stat().st_size if path.exists() else 0
        self._position, self._rest = self.start, b""

    def lines(self, is_last: bool = False) -> Iterator[str]:
        """The new lines that are not empty; with `is_last` also one that has no end."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._position)
                data = file.read()
        except OSError:  # it is not there yet, or not any more
            return
        self._position += len(data)
        *whole, self._rest = (self._rest + data).replace(b"\r", b"\n").split(b"\n")
        if is_last:
            whole, self._rest = [*whole, self._rest], b""
        for line in whole:
            if line.strip():
                yield line.decode("utf-8", "replace")


def recent_events(path: Path, size: int = 4096) -> list[dict[str, Any]]:
    """The events in the last `size` bytes of a file, as they were written; none where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - size))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


_MOST = 10**16  # of steps, rows or bytes
_LATEST = 1e11  # the year 5138: what is later is no time


class EventReader:
    """Turns the lines of an event file into events. Remembers the number of steps, which only the beginning tells."""

    def __init__(self) -> None:
        self._total = 0

    def read(self, line: str) -> EngineEvent | None:
        """The event in a line; None for one that is damaged or of no interest here."""
        try:
            values = json.loads(line)
            event = self._event(values)
            time = float(values.get("time") or 0)
            return replace(event, time=time) if event is not None and 0 < time < _LATEST else event
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None

    def _event(self, values: dict[str, Any]) -> EngineEvent | None:
        kind = values["event"]
        if kind == "begin":
            self._total = _count(values["total_steps"])
            batch = values.get("batch")
            return Begun(
                _count(values["step"]), self._total, _count(values["processes"]), _count(batch) if batch else None
            )
        if kind == "step":
            return Progress("train", _count(values["step"]), self._total)
        if kind == "eval_batch":
            return Progress("eval", _count(values["done"]), _count(values["total"] or 0))
        if kind == "log":
            numbers = {str(key): float(value) for key, value in values["values"].items()}
            counts = (_count(values.get(key) or 0) for key in ("peak", "tokens"))
            return Logged(_count(values["step"]), numbers, *counts)
        if kind in _AT_STEP:
            return _AT_STEP[kind](_count(values["step"]))
        if kind in _AS_TOLD:
            return _AS_TOLD[kind]({key: value for key, value in values.items() if key not in ("event", "time")})
        if kind == "surroundings":
            return Surroundings({key: values[key] for key in ("python", "cuda", "devices") if key in values})
        if kind == "error":
            chain = tuple((str(link["type"]), str(link["message"])) for link in values["chain"])
            return Raised(chain, during=str(values.get("during", "")), memory=dict(values.get("memory") or {}))
        if kind == "children":
            return Raised(exit_codes=tuple(int(code) for code in values["exit_codes"]))
        return None


def _count(value: Any) -> int:
    """A number of steps, rows or bytes. Raises ValueError for what is none."""
    count = int(value)
    if not 0 <= count < _MOST:
        raise ValueError(f"{count} is not a count")
    return count
