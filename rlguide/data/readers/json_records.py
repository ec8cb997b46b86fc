"""Rows of JSON that are lists of values, without the names of the columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rlguide.data.readers.encodings import Text
from rlguide.data.readers.header import check_number, unnamed
from rlguide.data.readers.source import ReadOptions, Row, Source

KIND = "JSON lists of values"


def is_record(value: Any) -> bool:
    """Whether this is a row without names: a list of plain values."""
    return isinstance(value, list) and bool(value) and not any(isinstance(one, dict | list) for one in value)


def open_records(text: Text, how: ReadOptions, first: list[Any], read: Callable[[Text], Iterator[Row]]) -> Source:
    """Rows that are lists of values, which need names for them. Raises DataError without, UsageError for too few."""
    width = len(first)
    if how.header is None:
        raise unnamed(text.path, "holds lists of values, without the names of the columns", width)
    names = how.names
    check_number(text.path, names, width)

    def zipped(_: Path, __: frozenset[str] | None) -> Iterator[Row]:
        for row in read(text):
            if row.broken:
                yield row
            elif isinstance(row.value, list) and len(row.value) == len(names):
                yield Row(row.position, dict(zip(names, row.value, strict=True)))
            else:
                yield Row(row.position, None, f"not a list of {len(names)} values")

    return Source(text.path, KIND, "line", zipped, (f"its columns are {', '.join(names)}, as --header says",))
