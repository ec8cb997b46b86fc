"""The prompts of a file, whatever else stands in it: what is asked of a model, not what it is trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.catalog.columns import plain
from rlguide.data.cells.asked import Asked, possible_prompts
from rlguide.data.cells.exports import flattened
from rlguide.data.cells.table import Table
from rlguide.data.cells.values import Record
from rlguide.data.example import GPT, HUMAN, BadRow, Turn
from rlguide.data.formats.reading import choose_reading
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import Row, Source
from rlguide.errors import DataError
from rlguide.workspace import read_text

_FIRST = 50  # rows by which it is decided how all are read
_TEXT = "text"  # what a column of prompts may be called that is no name of a prompt in preference data
FIX = 'give one prompt a line in a .txt file, or JSON lines such as {"prompt": "..."} or {"messages": [...]}'


@dataclass(frozen=True)
class FilePrompts:
    """The prompts of a file, each once.

    Attributes:
        prompts: who says what, the user last: (role "system", "user" or "assistant", text).
        is_all: whether there were no more than the limit.
        refused: rows that hold no prompt, and the first reason.
    """

    prompts: list[list[tuple[str, str]]]
    is_all: bool
    refused: int = 0
    reason: str = ""


def read_prompts(path: Path, limit: int | None = None) -> FilePrompts:
    """The first prompts of a file: a line of .txt each, or what is asked in a row of any kind of file that is read.

    Responses beside a prompt are left out, also one that ends its conversation.

    Raises:
        DataError: it cannot be read, or holds no prompt.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    refused, reason = 0, ""
    for prompt in _of_lines(path) if path.suffix == ".txt" else _of_rows(path):
        if isinstance(prompt, str):
            refused, reason = refused + 1, reason or prompt
        elif limit is not None and len(found) == limit and str(prompt) not in found:
            return FilePrompts(list(found.values()), False, refused, reason)
        else:
            found.setdefault(str(prompt), prompt)
    if not found:
        raise DataError(f"{path} holds no prompt{reason and f': {reason}'}", FIX)
    return FilePrompts(list(found.values()), True, refused, reason)


def _of_lines(path: Path) -> Iterator[list[tuple[str, str]] | str]:
    for line in read_text(path).split("\n"):
        if line.strip():
            yield [("user", line.strip())]


def _of_rows(path: Path) -> Iterator[list[tuple[str, str]] | str]:
    """The prompt of each row, or why it has none."""
    source = open_source(path)
    to_prompt = _way(path, source)
    for row in source.rows():
        try:
            if row.broken:
                raise BadRow(row.broken)
            yield to_prompt.of(_record(row))
        except BadRow as error:
            yield f"{source.unit} {row.position}: {error}"


class _Way:
    """How the rows of a file are read: by the columns of a prompt, or as examples."""

    def __init__(self, path: Path, rows: list[Record]) -> None:
        table = Table(rows)
        texts = [name for name in table.columns if plain(name) == _TEXT]
        self._asked = next(possible_prompts(table), None) or (Asked(texts[0]) if texts else None)
        self._decoders = table.decoders
        self._reading = None if self._asked else choose_reading(rows, path)

    def of(self, row: Record) -> list[tuple[str, str]]:
        """The prompt of a row. Raises BadRow."""
        if self._reading is not None:
            examples = self._reading.to_examples(row)
            if not examples:
                raise BadRow("no prompt")
            return examples[0].spoken
        assert self._asked is not None
        decoded = {
            name: decode(row[name]) if isinstance(row.get(name), str) else row.get(name)
            for name, decode in self._decoders.items()
        }
        whole = {**row, **decoded}
        turns, system = self._asked.split(whole, self._asked.turns(whole))
        return _spoken(turns, system)


def _spoken(turns: tuple[Turn, ...], system: str) -> list[tuple[str, str]]:
    if turns and turns[-1].role == GPT:
        turns = turns[:-1]
    if not turns or turns[-1].role != HUMAN or not turns[-1].value.strip():
        raise BadRow("the user does not speak last")
    said = [("assistant" if turn.role == GPT else "user", turn.value) for turn in turns]
    return ([("system", system)] if system else []) + said


def _way(path: Path, source: Source) -> _Way:
    first = [_record(row) for row in islice(source.rows(), _FIRST) if not row.broken and _is_record(row.value)]
    if not first:
        raise DataError(f"{path} holds no prompt that can be read", FIX)
    try:
        return _Way(path, first)
    except DataError as error:
        raise DataError(f"{path} holds no column that is known as a prompt", FIX) from error


def _is_record(value: Any) -> bool:
    return isinstance(value, str) or isinstance(flattened(value), dict)


def _record(row: Row) -> Record:
    """A row as columns; a text alone is a prompt. Raises BadRow."""
    value: Any = {"prompt": row.value} if isinstance(row.value, str) else flattened(row.value)
    if not isinstance(value, dict):
        raise BadRow("not an object")
    return value
