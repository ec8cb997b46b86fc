"""Which prompts a policy was trained on: what each training of its stack has left on record.

A run keeps the fingerprints of its training prompts (`trained_on.bin`): first their number, then the fingerprints,
sorted, all as unsigned numbers of 8 bytes, little-endian. Names of datasets would not do: a name can be registered
again with another split, and a round below may have trained on other names.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.engine.config_file import split_names
from rlguide.errors import DataError
from rlguide.policy.checkpoint import locate
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import CHECKPOINT_NAME, RUN_FILE, RunRecord, read_record
from rlguide.workspace import Workspace, atomic_write, read_json

FINGERPRINTS = "trained_on.bin"


@dataclass(frozen=True)
class TrainedPrompts:
    """The training prompts of a policy. `fingerprint in prompts` says whether one of them was trained on.

    unchecked: runs of its stack whose training prompts are not on record.
    """

    runs: tuple[array[int], ...]
    unchecked: tuple[str, ...]

    def __contains__(self, fingerprint: int) -> bool:
        for found in self.runs:
            at = bisect_left(found, fingerprint)
            if at < len(found) and found[at] == fingerprint:
                return True
        return False


def trained_on(ws: Workspace, *policies: Policy) -> TrainedPrompts:
    """The training prompts of every run in these stacks: also of rounds that were merged, and of a reward model."""
    todo = [(part, False) for policy in policies for part in (policy.base, *policy.adapters)]
    seen: set[Path] = set()
    runs: list[array[int]] = []
    unchecked: list[str] = []
    while todo:
        name, is_needed = todo.pop()
        path = locate(ws, name)
        if CHECKPOINT_NAME.fullmatch(path.name) and not (path / RUN_FILE).is_file():
            path = path.parent
        path = path.resolve()
        if path in seen:
            continue
        seen.add(path)
        if not path.is_dir():
            unchecked += [name] if is_needed else []  # what was merged and deleted since
            continue
        todo += _below(path)
        if (path / RUN_FILE).is_file():
            found = read_fingerprints(path)
            if found is None:
                unchecked.append(ws.relative(path))
            else:
                runs.append(found)
    return TrainedPrompts(tuple(runs), tuple(unchecked))


def _below(folder: Path) -> Iterator[tuple[str, bool]]:
    """What a run or a merged model was made of: its name, and whether it is known to be a training."""
    record = read_record(folder) or RunRecord()
    config = record.config or {}
    for name in (record.base, config.get("model_name_or_path"), config.get("reward_model")):
        if isinstance(name, str):
            yield name, False
    for adapter in (*(record.stack or ())[:-1], *split_names(config.get("adapter_name_or_path"))):
        yield adapter, False
    try:
        merged = read_json(folder / MANIFEST)
        adapters = [str(item["path"]) for item in merged["adapters"]]
        yield str(merged["base"]), False
    except (DataError, KeyError, TypeError, ValueError):
        return
    for adapter in adapters:
        yield adapter, True


def write_numbers(folder: Path, fingerprints: Sequence[int]) -> None:
    """Write the fingerprints of a run, sorted and each once. Raises RlguideError if that is not possible."""
    numbers = array("Q", [len(fingerprints), *fingerprints])
    if sys.byteorder == "big":
        numbers.byteswap()
    with atomic_write(folder / FINGERPRINTS, "wb") as file:
        file.write(numbers.tobytes())


def read_fingerprints(folder: Path) -> array[int] | None:
    """The fingerprints of a run, sorted; None if there are none, or the file is damaged."""
    numbers: array[int] = array("Q")
    try:
        numbers.frombytes((folder / FINGERPRINTS).read_bytes())
    except (OSError, ValueError):
        return None
    if sys.byteorder == "big":
        numbers.byteswap()
    found = numbers[1:]
    is_whole = len(numbers) > 0 and numbers[0] == len(found)
    return found if is_whole and all(map(int.__le__, found, found[1:])) else None
