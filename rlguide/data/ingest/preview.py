"""The first rows as they will be stored, for the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from rlguide import console
from rlguide.data.example import BadRow, Example
from rlguide.data.formats.reading import Reading

ROWS = 3
CHARACTERS = 160  # of a text
_NAMES = 9  # the longest of the names on the left, and a space


def preview(reading: Reading, rows: Iterable[Any]) -> list[str]:
    """A few lines for each of the first examples: its turns and responses, one line each."""
    lines: list[str] = []
    for number, example in enumerate(islice(_examples(reading, rows), ROWS), start=1):
        lines.append(f"  example {number} as it will be stored:")
        lines += [f"    {name.ljust(_NAMES)} {_short(text)}" for name, text in _parts(example)]
    return lines


def _examples(reading: Reading, rows: Iterable[Any]) -> Iterator[Example]:
    for row in rows:
        try:
            yield from reading.to_examples(row) if isinstance(row, dict) else ()
        except BadRow:
            continue


def _parts(example: Example) -> Iterator[tuple[str, str]]:
    yield from example.spoken
    if example.kind == "pairs":
        yield "chosen", example.chosen
        yield "rejected", example.rejected
    elif example.label is None:
        yield "response", example.chosen
    else:
        yield "good" if example.label else "bad", example.chosen


def _short(text: str) -> str:
    line = console.printable(" ".join(text.split()), "\ufffd")
    return line if len(line) <= CHARACTERS else f"{line[:CHARACTERS]} [...]"
