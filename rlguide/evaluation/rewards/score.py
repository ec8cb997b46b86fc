"""Put a reward on every row of a file.

The file is read twice: first for what has no reward yet, which is written to a temporary file and scored, then to
write its rows again with their rewards. So no more than the rewards of it are in memory, and as each reward is kept in
the user's cache as it comes, an interruption loses none.
"""

from __future__ import annotations

import json
import math
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.console import say, to_json, warn
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.responses import ResponseFile, ResponseRow
from rlguide.errors import DataError, EngineError, UsageError
from rlguide.evaluation.asking import conversation_of
from rlguide.evaluation.rewards.model import RewardModel, Scored
from rlguide.evaluation.rewards.summary import Summary
from rlguide.progress import Ticker
from rlguide.remembered import Memory
from rlguide.workspace import atomic_write, check_replaceable

FOLDER = "rewards"  # in the cache
_CLOSE = 1e-4  # relative and absolute: by far more than batches of another shape change a float32


class _OtherModel(Exception):
    """A server gives another reward for what it has scored before."""


@dataclass(frozen=True)
class Wanted:
    """What is to be scored.

    Attributes:
        options: how the file's rows are read.
        name: of the field that gets the reward; of a pair it is `chosen_<name>` and `rejected_<name>`.
    """

    file: Path
    options: IngestOptions
    name: str = "reward"

    @property
    def fields(self) -> tuple[str, ...]:
        """All fields that rows may get."""
        return (self.name, f"chosen_{self.name}", f"rejected_{self.name}", f"{self.name}_cut", f"{self.name}_missing")


def score_file(model: RewardModel, wanted: Wanted, output: Path | None, stream: IO[str] | None = None) -> Summary:
    """Score every row of a file and write its rows with their rewards as JSON lines, in their order.

    A row keeps its fields and gets `reward`, or `chosen_reward` and `rejected_reward` of a pair, and `reward_cut`, how
    many tokens were left out. One that cannot be scored gets null and `reward_missing`, why.

    Args:
        output: the file to write, whole or not at all; None for `stream`.

    Raises:
        UsageError: the output is the file itself or cannot be replaced, or rows have a field of that name already.
        DataError: the file cannot be read.
        EngineError: the engine or a server failed; the next call goes on from there.
    """
    _check(wanted, output)
    rows = ResponseFile(wanted.file, wanted.options)
    say(f"{wanted.file.name}: {rows.explanation}")
    with Memory(FOLDER, model.identity()) as memory:
        try:
            failed = _score_missing(model, wanted, rows, memory)
        except _OtherModel:
            warn("the server gives other rewards than before, so all rows are scored anew")
            memory.forget()
            failed = _score_missing(model, wanted, rows, memory)
        summary = Summary(model.run.policy.describe())
        if output is None:
            assert stream is not None
            _write(rows, wanted, memory, failed, summary, stream)
        else:
            with atomic_write(output) as file:
                _write(rows, wanted, memory, failed, summary, file)
    return summary


def _check(wanted: Wanted, output: Path | None) -> None:
    """Refuse before anything is scored, which may take hours. Raises UsageError."""
    if not wanted.name.strip():
        raise UsageError("--field is empty", "name the field that gets the reward: --field reward")
    if output is None:
        return
    check_replaceable(output)
    if output.exists() and output.samefile(wanted.file):
        raise UsageError(f"{output} is the file that is scored", "name another with --output")


def _score_missing(model: RewardModel, wanted: Wanted, rows: ResponseFile, memory: Memory) -> dict[str, str]:
    """Score what has no reward yet; gives why some have none, by their keys."""
    with tempfile.TemporaryFile() as requests:
        asked = _requests(rows, wanted, memory, requests, is_probed=model.server is not None)
        if asked.known:
            say(f"{asked.known:,} of {asked.rows:,} rows are scored already, or like another row")
        if not asked.keys:
            return {}
        requests.seek(0)
        failed: dict[str, str] = {}
        with ExitStack() as stack:
            scores = stack.enter_context(closing(model.score(requests)))
            ticker: Ticker | None = None
            for done, found in enumerate(scores, start=1):
                # Only from the first reward on: loading the model says nothing of the rate.
                ticker = ticker or stack.enter_context(Ticker("scoring", "rows", len(asked.keys)))
                ticker.update(done)
                key = asked.keys[found.index] if 0 <= found.index < len(asked.keys) else ""
                if key in memory and not _agrees(memory[key], found):
                    raise _OtherModel
                if found.rewards:
                    memory.add(key, [list(found.rewards), found.cut])
                else:
                    failed[key] = found.why
    if any(key not in memory and key not in failed for key in asked.keys):
        raise EngineError(
            "the engine gave only some of the rewards", "run `rlguide doctor`, then the same command again"
        )
    return failed


def _agrees(value: Any, found: Scored) -> bool:
    """Whether a kept value is the one that came now; a server may add up in another order."""
    try:
        rewards = [float(reward) for reward in value[0]]
        return len(rewards) == len(found.rewards) and all(
            math.isclose(one, other, rel_tol=_CLOSE, abs_tol=_CLOSE)
            for one, other in zip(rewards, found.rewards, strict=True)
        )
    except (TypeError, ValueError, LookupError):
        return False


@dataclass(frozen=True)
class _Asked:
    """What is asked for: the keys of the requests, the rows that can be scored, and those that need no request."""

    keys: list[str]
    rows: int
    known: int


def _requests(rows: ResponseFile, wanted: Wanted, memory: Memory, requests: IO[bytes], is_probed: bool) -> _Asked:
    """Write a request for each row that has no reward yet.

    Args:
        is_probed: whether the first row that has one is asked for again: a server may hold another model by now.
    """
    keys: list[str] = []
    seen: set[str] = set()
    count = known = 0
    with Ticker(f"reading {wanted.file.name}", "rows", rows.expected()) as ticker:
        for number, row in enumerate(rows, start=1):
            ticker.update(number)
            _check_fields(row, wanted, rows)
            if row.example is None:
                continue
            count += 1
            item = _item(row)
            key = memory.key(item)
            is_probe = is_probed and key in memory
            is_probed = is_probed and not is_probe
            if key in seen or (key in memory and not is_probe):
                known += 1
                continue
            seen.add(key)
            requests.write(json.dumps({"index": len(keys), **item}).encode() + b"\n")
            keys.append(key)
    return _Asked(keys, count, known)


def _check_fields(row: ResponseRow, wanted: Wanted, rows: ResponseFile) -> None:
    for name in wanted.fields:
        if name in row.values:
            raise UsageError(
                f"{rows.unit} {row.position} of {wanted.file} has a field {name} already",
                f"name the new one otherwise: --field {wanted.name}_2",
            )


def _item(row: ResponseRow) -> dict[str, Any]:
    """What decides a row's reward."""
    assert row.example is not None
    return {"messages": conversation_of(row.example), "responses": list(row.example.responses)}


def _write(
    rows: ResponseFile, wanted: Wanted, memory: Memory, failed: dict[str, str], summary: Summary, file: IO[str]
) -> None:
    for row in rows:
        found = _found(row, memory, failed, wanted)
        summary.add(found)
        names = _names(rows, wanted.name)
        values = dict(zip(names, found.rewards or [None] * len(names), strict=True))
        more = {f"{wanted.name}_cut": found.cut} if found.rewards else {f"{wanted.name}_missing": found.why}
        own = row.values if row.values else {rows.unit: row.position}
        file.write(to_json({**own, **values, **more}) + "\n")


def _found(row: ResponseRow, memory: Memory, failed: dict[str, str], wanted: Wanted) -> Scored:
    if row.example is None:
        return Scored(row.position, why=row.why)
    key = memory.key(_item(row))
    if key in failed:
        return Scored(row.position, why=failed[key])
    if key not in memory:
        raise DataError(f"{wanted.file} has changed while it was scored", "run the same command again")
    try:
        rewards, cut = memory[key]
        if len(rewards) != len(row.example.responses):
            raise ValueError
        return Scored(row.position, tuple(float(reward) for reward in rewards), int(cut))
    except (TypeError, ValueError):
        return Scored(row.position, why="what is kept of it in the cache is damaged")


def _names(rows: ResponseFile, name: str) -> tuple[str, ...]:
    return (f"chosen_{name}", f"rejected_{name}") if rows.kind == "pairs" else (name,)
