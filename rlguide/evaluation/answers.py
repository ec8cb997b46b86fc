"""What a run and its parent answered in an evaluation, kept in the run's folder for people to compare."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rlguide.conversation import Message, messages_of
from rlguide.errors import DataError
from rlguide.workspace import atomic_write, read_text

ANSWERS = "answers.jsonl"
HELD_OUT = "length"  # the part of a suite that asks held-out prompts


@dataclass(frozen=True)
class Answered:
    """A prompt with the greedy responses of both models.

    Attributes:
        part: of the suite: "length" (held-out prompts) or "instructions".
        prompt: messages, each with `role` and `content`.
        parent, tuned: the responses before and after the training, as far as they were not cut.
    """

    part: str
    prompt: list[Message]
    parent: str
    tuned: str


def answered(
    part: str, conversations: Sequence[Sequence[Message]], texts: tuple[Sequence[str], Sequence[str]]
) -> list[Answered]:
    """The records of one part; `texts`: the responses of the parent and of the tuned model, in their order."""
    return [
        Answered(part, list(prompt), before, after) for prompt, before, after in zip(conversations, *texts, strict=True)
    ]


def keep_answers(run_path: Path, found: Sequence[Answered]) -> None:
    """Write `<run>/eval/answers.jsonl`; answers of parts that were not measured this time stay.

    Raises:
        RlguideError: it cannot be written.
    """
    parts = {item.part for item in found}
    kept = [item for item in read_answers(run_path) if item.part not in parts]
    with atomic_write(run_path / "eval" / ANSWERS) as file:
        # ASCII, because half a surrogate pair, which a file of prompts may hold, cannot be written in UTF-8.
        file.writelines(json.dumps(asdict(item)) + "\n" for item in (*kept, *found))


def read_answers(run_path: Path) -> list[Answered]:
    """The answers of the evaluations of a run; [] where there are none. Damaged lines are left out."""
    try:
        lines = read_text(run_path / "eval" / ANSWERS).split("\n")
    except DataError:
        return []
    return list(_read(lines))


def _read(lines: Sequence[str]) -> Iterator[Answered]:
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        prompt = messages_of(row.get("prompt")) if isinstance(row, Mapping) else []
        texts = [row[key] for key in ("part", "parent", "tuned") if prompt and isinstance(row.get(key), str)]
        if len(texts) == 3:
            yield Answered(texts[0], prompt, texts[1], texts[2])
