"""What a run and its parent responded in an evaluation, kept in the run's folder for people to compare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlguide.conversation import Message, Response
from rlguide.errors import DataError
from rlguide.evaluation.comparison.record import HELD_OUT, Compared, compared_of, write_compared
from rlguide.workspace import read_text

ANSWERS = "answers.jsonl"
PARENT, TUNED = "parent", "tuned"
_EARLIER = {"length": HELD_OUT}  # what an earlier rlguide called where prompts are from


def answered(
    source: str, conversations: Sequence[Sequence[Message]], both: tuple[Sequence[Response], Sequence[Response]]
) -> list[Compared]:
    """The records of prompts of one source; `both`: the responses of the parent and of the tuned model, in order."""
    return [
        Compared(source, list(prompt), {PARENT: before, TUNED: after})
        for prompt, before, after in zip(conversations, *both, strict=True)
    ]


def keep_answers(run_path: Path, found: Sequence[Compared]) -> None:
    """Write `<run>/eval/answers.jsonl`; responses to prompts of sources that were not asked this time stay.

    Raises:
        RlguideError: it cannot be written.
    """
    sources = {item.source for item in found}
    kept = [item for item in read_answers(run_path) if item.source not in sources]
    write_compared(run_path / "eval" / ANSWERS, (*kept, *found))


def read_answers(run_path: Path) -> list[Compared]:
    """The responses of the evaluations of a run; [] where there are none. Damaged lines are left out."""
    try:
        lines = read_text(run_path / "eval" / ANSWERS).split("\n")
    except DataError:
        return []
    return list(_read(lines))


def _read(lines: Sequence[str]) -> Iterator[Compared]:
    for line in lines:
        try:
            record = compared_of(_as_now(json.loads(line)))
        except (ValueError, RecursionError):
            continue
        if record is not None and record.models == (PARENT, TUNED):
            yield record


def _as_now(row: Any) -> Any:
    """A row as it is written now; earlier ones held both texts by themselves, and not how they ended."""
    if not isinstance(row, Mapping) or not isinstance(row.get("part"), str):
        return row
    responses = {name: {"text": row.get(name), "ended": "stop"} for name in (PARENT, TUNED)}
    source = _EARLIER.get(row["part"], row["part"])
    return {"source": source, "prompt": row.get("prompt"), "responses": responses}
