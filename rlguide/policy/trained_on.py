"""Which prompts a policy was trained on: what each training of its stack has left on record.

A run keeps the fingerprints of its training prompts (`trained_on.bin`): first their number, then the fingerprints,
sorted, all as unsigned numbers of 8 bytes, little-endian. Names of datasets would not do: a name can be registered
again with another split, and a round below may have trained on other names.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.engine.config_file import split_names
from rlguide.errors import CheckpointError, DataError
from rlguide.policy.checkpoint import locate, read_checkpoint
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import CHECKPOINT_NAME, RUN_FILE, RunRecord, read_record
from rlguide.workspace import Workspace, atomic_write, read_json

FINGERPRINTS = "trained_on.bin"
STATE = "trainer_state.json"  # of the Trainer: whatever holds it was trained


@dataclass(frozen=True)
class TrainedPrompts:
    """The training prompts of a policy. `fingerprint in prompts` says whether one of them was trained on.

    Attributes:
        unchecked: runs of its stack whose training prompts are not on record.
        unrecorded: what else was trained, outside rlguide, and has no record at all: "the SFT adapter saves/sft".
    """

    runs: tuple[array[int], ...]
    unchecked: tuple[str, ...]
    unrecorded: tuple[str, ...] = ()

    def __contains__(self, fingerprint: int) -> bool:
        for found in self.runs:
            at = bisect_left(found, fingerprint)
            if at < len(found) and found[at] == fingerprint:
                return True
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What cannot be left out of an evaluation, a sentence for each part of the stack without a record."""
        return tuple(
            f"{part} has no record of its training prompts: pairs that it saw cannot be left out"
            for part in self.unrecorded
        )


def trained_on(ws: Workspace, *policies: Policy) -> TrainedPrompts:
    """The training prompts of every run in these stacks: also of rounds that were merged, and of a reward model."""
    todo = [part for policy in policies for part in _parts(policy.base, policy.adapters)]
    seen: set[Path] = set()
    runs: list[array[int]] = []
    unchecked: list[str] = []
    unrecorded: list[str] = []
    while todo:
        part = todo.pop()
        path = locate(ws, part.name)
        if CHECKPOINT_NAME.fullmatch(path.name) and not (path / RUN_FILE).is_file():
            path = path.parent
        path = path.resolve()
        if path in seen:
            continue
        seen.add(path)
        todo += parts_below(path)
        if any((path / name).is_file() for name in (RUN_FILE, FINGERPRINTS)):
            found = read_fingerprints(path)
            if found is None:
                unchecked.append(ws.relative(path))
            else:
                runs.append(found)
        elif part.was_merged and not path.is_dir():  # and deleted since: it may have been a run
            unchecked.append(part.name)
        elif what := _trained_elsewhere(locate(ws, part.name), part):
            unrecorded.append(f"the {what} {part.name}")
    return TrainedPrompts(tuple(runs), tuple(unchecked), tuple(sorted(unrecorded)))


@dataclass(frozen=True)
class Part:
    """A base, or an adapter on one; whether it `was_merged` into what the policy names."""

    name: str
    is_adapter: bool = False
    was_merged: bool = False


def _parts(base: object, adapters: Iterable[str], was_merged: bool = False) -> Iterator[Part]:
    if isinstance(base, str):
        yield Part(base)
    for adapter in adapters:
        yield Part(adapter, is_adapter=True, was_merged=was_merged)


def _trained_elsewhere(path: Path, part: Part) -> str:
    """What a part without a record is, if it was trained; "" for a base as it was published, and for a merged model."""
    if not part.is_adapter and not ((path / STATE).is_file() and not (path / MANIFEST).is_file()):
        return ""
    try:
        stage = read_checkpoint(path).stage
    except CheckpointError:  # it is on the hub, or gone
        stage = "model"
    word = {"sft": "SFT ", "preference": "preference-tuned ", "reward": "reward "}.get(stage, "")
    return f"{word}{'adapter' if part.is_adapter else 'model'}"


def parts_below(folder: Path) -> Iterator[Part]:
    """What a run or a merged model was made of."""
    record = read_record(folder) or RunRecord()
    config = record.config or {}
    yield from _parts(record.base, (record.stack or ())[:-1])
    yield from _parts(config.get("model_name_or_path"), split_names(config.get("adapter_name_or_path")))
    yield from _parts(config.get("reward_model"), ())
    try:
        merged = read_json(folder / MANIFEST)
        adapters = [str(item["path"]) for item in merged["adapters"]]
        yield from _parts(str(merged["base"]), adapters, was_merged=True)
    except (DataError, KeyError, TypeError, ValueError):
        return


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
