"""The rows of a file of prompts and responses, in order, each with what it says; nothing is registered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.data.checks.examples import check_structure, check_unicode
from rlguide.data.example import BadRow, Example, ExampleKind
from rlguide.data.formats.reading import Reading, choose_reading
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.pipeline import check_first, first_rows
from rlguide.data.readers.files import expected_rows, open_source
from rlguide.data.readers.source import Row
from rlguide.errors import DataError, UsageError


@dataclass(frozen=True)
class ResponseRow:
    """A row with its one or two responses, or why it has none.

    Attributes:
        position: its line or row, from 1.
        values: its own fields; {} for a row that cannot be read.
    """

    position: int
    values: dict[str, Any]
    example: Example | None
    why: str = ""


class ResponseFile:
    """A file of any kind that `register` reads, whose rows hold a prompt with one response, or with two.

    Labels and ratings do not matter, so a response beside columns of any meaning is one.

    Raises:
        DataError, UsageError: as `open_source` and `choose_reading`.
    """

    def __init__(self, path: Path, options: IngestOptions) -> None:
        self.path = path
        self._source = open_source(path, options.reading)
        first = first_rows(self._source, {column for column, _ in options.wanted.columns})
        check_first(path, self._source, first)
        rows = [row.value for row in first]
        self._reading = _reading_of(rows, path, options)
        self.explanation = f"{self._source.kind}; {self._reading.explain(rows)}"

    @property
    def kind(self) -> ExampleKind:
        """Whether rows hold "pairs", "labels" or "responses"."""
        return self._reading.kind

    @property
    def unit(self) -> str:
        """What a position counts: "line" or "row"."""
        return self._source.unit

    def expected(self) -> int | None:
        """How many rows there are, where that is quick to tell."""
        return expected_rows(self._source)

    def __iter__(self) -> Iterator[ResponseRow]:
        """Every row. Raises DataError where the file is broken, or a later column changes how rows are read."""
        for row in self._source.rows():
            yield self._read(row)

    def _read(self, row: Row) -> ResponseRow:
        values = row.value if isinstance(row.value, dict) else {}
        try:
            if row.broken:
                raise BadRow(row.broken)
            if not isinstance(row.value, dict):
                raise BadRow("not an object")
            examples = self._reading.to_examples(row.value)
            if len(examples) != 1:
                raise BadRow("no response is better than another" if not examples else "more than one pair")
            _check(examples[0])
        except BadRow as reason:
            return ResponseRow(row.position, values, None, str(reason))
        return ResponseRow(row.position, values, examples[0])


def _check(example: Example) -> None:
    """Refuse what a reward model cannot read; two equal responses it can. Raises BadRow."""
    for response in example.responses:
        check_structure(Example.single(example.messages, response))
    check_unicode(example)


def _reading_of(rows: Sequence[Any], path: Path, options: IngestOptions) -> Reading:
    wanted = options.wanted
    try:
        return choose_reading(rows, path, wanted)
    except DataError as error:
        if wanted.form != "auto":
            raise
        try:
            return choose_reading(rows, path, replace(wanted, form="response"))
        except (DataError, UsageError):
            raise error from None
