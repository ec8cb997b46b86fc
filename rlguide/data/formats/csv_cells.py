"""What a cell of a CSV file means: some columns hold lists or messages, written as JSON text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlguide.data.formats.column_names import LABELS, LISTS, TEXT_OR_MESSAGES
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import Row, Source


def open_rows(path: Path) -> Source:
    """A file of any kind as `open_source` opens it, with JSON in a CSV file's cells decoded. Raises DataError, too."""
    source = open_source(path)
    if source.kind != "CSV":
        return source

    def read(path: Path, columns: frozenset[str] | None) -> Iterator[Row]:
        return map(_decoded_row, source.read(path, columns))

    return replace(source, read=read)


def _decoded_row(row: Row) -> Row:
    if row.broken:
        return row
    broken = decode_cells(row.value)
    return Row(row.position, None, broken) if broken else row


def decode_cells(record: dict[str, Any]) -> str:
    """Replace JSON text by what it holds, where a format expects lists or messages; why it cannot be done, or ""."""
    for column in LISTS:
        cell = record.get(column)
        if cell and cell.lstrip().startswith("["):
            value = _decoded(cell)
            if not isinstance(value, list):
                return f"{column} is not JSON"
            record[column] = value
    for column in TEXT_OR_MESSAGES:
        cell = record.get(column)
        if cell and cell.lstrip()[:1] in ("[", "{"):
            value = _decoded(cell)
            if _are_messages(value):
                record[column] = value
    output = record.get("output")  # two texts in alpaca's old rankings, the response beside a label
    if output and output.lstrip().startswith("[") and not any(label in record for label in LABELS):
        value = _decoded(output)
        if isinstance(value, list) and list(map(type, value)) == [str, str]:
            record["output"] = value
    return ""


def _decoded(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def _are_messages(value: Any) -> bool:
    """Whether this is a message, a list of them or an object that holds one, and not a text that looks like JSON."""
    if isinstance(value, list):
        return bool(value) and all(_is_message(entry) for entry in value)
    return _is_message(value) or (isinstance(value, dict) and isinstance(value.get("messages"), list))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and ({"role", "content"} <= set(value) or {"from", "value"} <= set(value))
