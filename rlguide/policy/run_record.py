"""What a run's `run.json` says: the one address of its keys, for whoever reads or writes them.

What the file says is data, never authority: a value that is missing or of the wrong type counts as not recorded, and
keys of other versions are kept as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlguide.errors import DataError
from rlguide.workspace import read_json, write_json

RUN_FILE = "run.json"
RUN_CONFIG = "config.yaml"
CHECKPOINT_NAME = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class RecordedReference:
    """The policy that a run was compared with: base and ordered adapters."""

    base: str
    adapters: tuple[str, ...]


@dataclass(frozen=True)
class RunRecord:
    """The fields of `run.json`, under the names of its keys; None where nothing usable is recorded.

    Attributes:
        rlguide: the version that wrote it.
        id: tells this run from any other, also from an earlier one in the same folder.
        status: "prepared", "running", "finished", "failed" or "interrupted".
        pid: the engine's process group while it runs.
        started, seconds: when its engine was started last, while that runs; and how long it ran before.
        base, stack: the policy that was trained: its base and its adapters, the last of which is the run itself.
        datasets, held_out: rows by name of dataset.
        checksums: sha256 of the data, by name of dataset.
        readings: what dataset_info.json says of how the data is read, by name of dataset.
        parts: checksums of the base and the adapters below it, by name (`policy.parts`).
        processes: how many trained it.
        plain: whether it was asked to train just as LLaMA-Factory does.
        lean: what it did in less memory and time, and what that saved (`recipes.lean.outcome`).
        data_figures: what its training data looks like in tokens (`rlguide_worker/data_figures.py`).
        plan: what it was planned to take (`runs.planned.kept`), on a GPU.
        engine: version by distribution.
        config: what the engine ran with.
        summary: "first", "last" and "held_out" metrics.
        start_check: "ok" and "message", whether the first step shows the right reference.
        failure: how it failed last, if nothing followed: "what" and "exit_code"; where memory ran out, also "memory"
            ("gpu" or "main"), "during", "step", "figures" (bytes, as in `engine.out_of_memory`) and "device".
        surroundings: what it was made with beside all that, to do it again (`runs.surroundings.gather`).
        replays: the run that it does again (`runs.replay`): "run", "id", "changed" (keys that were set otherwise),
            "ways" (`planner.ladder.WAYS` that it continued with).
        attempts: each time that memory ran out and it continued with another setting: "failure", "change" (in words),
            "time", "way" (`planner.ladder.WAYS`), "before" and "settings" (keys of the config).
        launch: how its processes are started (`launchers.launch.Launch`); None for LLaMA-Factory's own way on one host.
        other: keys that this version does not know.
    """

    rlguide: str | None = None
    id: str | None = None
    method: str | None = None
    loss: str | None = None
    status: str | None = None
    pid: int | None = None
    created: str | None = None
    started: str | None = None
    seconds: float | None = None
    base: str | None = None
    template: str | None = None
    stack: tuple[str, ...] | None = None
    reference: RecordedReference | None = None
    datasets: dict[str, Any] | None = None
    held_out: dict[str, Any] | None = None
    checksums: dict[str, Any] | None = None
    readings: dict[str, Any] | None = None
    parts: dict[str, Any] | None = None
    processes: int | None = None
    total_steps: int | None = None
    effective_batch: int | None = None
    plain: bool | None = None
    lean: dict[str, Any] | None = None
    data_figures: dict[str, Any] | None = None
    plan: dict[str, Any] | None = None
    engine: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    start_check: dict[str, Any] | None = None
    plots: tuple[str, ...] | None = None
    failure: dict[str, Any] | None = None
    attempts: tuple[dict[str, Any], ...] | None = None
    surroundings: dict[str, Any] | None = None
    replays: dict[str, Any] | None = None
    launch: dict[str, Any] | None = None
    other: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_open(self) -> bool:
        """Whether it says that the run trains, or is about to: how that ended is not on record."""
        return self.status in ("prepared", "running")


def read_record(folder: Path) -> RunRecord | None:
    """The record of the run in this folder; None if there is none, or it is not a JSON object."""
    try:
        values = read_json(folder / RUN_FILE)
    except DataError:
        return None
    if not isinstance(values, dict):
        return None
    readers = {item.name: _READERS[str(item.type)] for item in fields(RunRecord) if item.name != "other"}
    known: dict[str, Any] = {name: read(values.get(name)) for name, read in readers.items()}
    return RunRecord(**known, other={key: value for key, value in values.items() if key not in known})


def record_of(checkpoint: Path) -> RunRecord | None:
    """The record of the run that a checkpoint belongs to: in its folder, or just above a `checkpoint-N`."""
    record = read_record(checkpoint)
    if record is None and CHECKPOINT_NAME.fullmatch(checkpoint.name):
        record = read_record(checkpoint.parent)
    return record


def run_folders(saves: Path) -> Iterator[Path]:
    """The folders at any depth that hold the record of a run, readable or not."""
    for folder, names, files in os.walk(saves):
        names[:] = [name for name in names if not name.startswith((".", "checkpoint-"))]
        if RUN_FILE in files:
            yield Path(folder)


def write_record(folder: Path, record: RunRecord) -> None:
    """Write `run.json`, atomically. Raises RlguideError if it cannot be written."""
    values = asdict(record)
    other = values.pop("other")
    write_json(folder / RUN_FILE, {**values, **other})


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e300
    return float(value) if is_number else None


def _truth(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _mapping(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list else None


def _mappings(value: Any) -> tuple[dict[str, Any], ...] | None:
    is_list = isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return tuple(value) if is_list else None


def _reference(value: Any) -> RecordedReference | None:
    if not isinstance(value, dict) or not isinstance(value.get("base"), str):
        return None
    adapters = _texts(value.get("adapters"))
    return None if adapters is None else RecordedReference(value["base"], adapters)


# How a value of each type in RunRecord is read: itself if it is of that type, else None.
_READERS: dict[str, Callable[[Any], Any]] = {
    "str | None": _text,
    "int | None": _whole_number,
    "float | None": _number,
    "bool | None": _truth,
    "dict[str, Any] | None": _mapping,
    "tuple[str, ...] | None": _texts,
    "tuple[dict[str, Any], ...] | None": _mappings,
    "RecordedReference | None": _reference,
}
