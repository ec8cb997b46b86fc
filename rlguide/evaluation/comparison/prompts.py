"""What the models of a comparison are asked: the prompts of a file, or what `rlguide eval` asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rlguide.console import say, warn
from rlguide.conversation import Message
from rlguide.data.ingest.prompts import read_prompts
from rlguide.engine.find import Engine
from rlguide.errors import CheckpointError, DataError, EngineError, UsageError
from rlguide.evaluation.asked import Asked, Size
from rlguide.evaluation.comparison.record import FILE, HELD_OUT, INSTRUCTIONS
from rlguide.evaluation.config import held_out_pairs
from rlguide.evaluation.instructions.prompts import by_language, load_prompts
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

SUITE = "suite"
_FIRST = 200  # prompts of a file, where nobody says how many


@dataclass(frozen=True)
class Prompt:
    """One prompt, and where it is from: "instructions", "held out" or "file"."""

    source: str
    messages: list[Message]


def prompts_of_file(path: Path, limit: int | None = None) -> list[Prompt]:
    """The first prompts of a file; says how many, and what was passed over.

    Raises:
        DataError: it cannot be read, or holds none.
    """
    found = read_prompts(path, limit or _FIRST)
    more = "" if found.is_all else "the first "
    say(f"{more}{len(found.prompts)} prompts of {path}" + ("" if found.is_all or limit else " (more with -n)"))
    if found.refused:
        warn(f"{found.refused} rows of {path} hold no prompt: {found.reason}")
    return [Prompt(FILE, [{"role": role, "content": text} for role, text in item]) for item in found.prompts]


def prompts_of_suite(
    ws: Workspace, find_engine: Callable[[], Engine], run: Run | None, size: Size, limit: int | None = None
) -> list[Prompt]:
    """The prompts of `rlguide eval`: the bundled instructions, then those that the run held out, as far as it did.

    Args:
        limit: of all of them; taken in turn from English and Chinese instructions and held-out prompts.
    """
    held_out: list[Prompt] = []
    if run is None:
        say("no run is compared, so there are no held-out prompts; only the bundled instructions are asked")
    else:
        held_out = _held_out(ws, find_engine, run, size)
    groups = [
        [Prompt(INSTRUCTIONS, [{"role": "user", "content": item.prompt}]) for item in own[: size.instructions]]
        for own in by_language(load_prompts())
    ]
    groups.append(held_out)
    kept = _shares([len(group) for group in groups], limit)
    return [prompt for group, count in zip(groups, kept, strict=True) for prompt in group[:count]]


def _held_out(ws: Workspace, find_engine: Callable[[], Engine], run: Run, size: Size) -> list[Prompt]:
    try:
        engine = find_engine()
        asked = Asked(ws, engine, run, {}, held_out_pairs(ws, engine, run, [], {}), size)
        return [Prompt(HELD_OUT, messages) for messages in asked.conversations]
    except (UsageError, DataError, CheckpointError, EngineError) as error:
        say(f"no held-out prompts: {error.what}")
        return []


def _shares(sizes: list[int], limit: int | None) -> list[int]:
    """How many of each group, so that all are `limit` together and none has more than its turn."""
    kept = [0] * len(sizes)
    left = sum(sizes) if limit is None else min(limit, sum(sizes))
    while left:
        for at, size in enumerate(sizes):
            if left and kept[at] < size:
                kept[at], left = kept[at] + 1, left - 1
    return kept
