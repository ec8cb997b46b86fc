"""Rows of a CSV file, whatever separates its columns."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from rlguide.data.readers.encodings import Text
from rlguide.data.readers.header import as_row, column_names
from rlguide.data.readers.source import ReadOptions, Row, Source
from rlguide.errors import DataError

_SEPARATOR_LINE = re.compile(r"\"?sep=(.)\"?\r?\n?", re.IGNORECASE)  # Excel's
_NAMES_OF = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


class _Table(NamedTuple):
    """How the records stand in a file."""

    separator: str
    names: list[str]
    skipped: int  # records before the first row
    lines_before: int  # 1 with a line sep=; that is no record


def open_csv(text: Text, suffix: str, how: ReadOptions) -> Source:
    """A CSV file with its columns. Every cell is text, and a position is a record's first line.

    The separator is a comma, or a tab if the name ends in .tsv; if the header has none of these, the semicolon, tab,
    bar or comma that it has; in any case what Excel's first line `sep=;` names. Raises DataError: the separator or the
    names of the columns cannot be told; UsageError: they are named with --header and should not be.
    """
    csv.field_size_limit(1 << 30)
    with text.open() as binary, _records(text.path, text.name):
        file = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        first = file.readline()
        told = _SEPARATOR_LINE.fullmatch(first)
        first = file.readline() if told else first
        separator = told[1] if told else _separator(text.path, suffix, first, how)
        record = next(csv.reader(chain([first], file), delimiter=separator, strict=True), [])
        file.detach()
    names, is_header = column_names(text.path, record, how)
    table = _Table(separator, names, int(is_header), int(bool(told)))
    notes = [] if how.header is None else [f"its columns are {', '.join(names)}, as --header says"]
    return Source(text.path, "CSV", "line", partial(_read, text, table), tuple(notes))


def _read(text: Text, table: _Table, path: Path, _: frozenset[str] | None) -> Iterator[Row]:
    csv.field_size_limit(1 << 30)
    names, width = table.names, len(table.names)
    before = table.lines_before
    with text.open() as binary, _records(path, text.name) as place:
        file = io.TextIOWrapper(binary, encoding="utf-8-sig", newline="")
        for _line in range(before):
            file.readline()
        records = csv.reader(file, delimiter=table.separator, strict=True)
        for _record in range(table.skipped):
            next(records, None)
        while True:
            line = place[0] = records.line_num + 1 + before
            record = next(records, None)
            if record is None:
                return
            if len(record) == width:
                yield Row(line, dict(zip(names, record, strict=True)))
            elif record:  # not an empty line
                row = as_row(names, record)
                yield Row(line, row, "" if row is not None else "has another number of fields than the header")


@contextmanager
def _records(path: Path, encoding: str) -> Iterator[list[int]]:
    """What goes wrong in the block is in the record from the line on that the list holds."""
    place = [1]
    try:
        yield place
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not {encoding}, in line {place[0]} or soon after it",
            "save the file as UTF-8, or name its encoding, for example --encoding cp1252",
        ) from error
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: {error}, in the record from line {place[0]} on", "fix the file") from error


def _separator(path: Path, suffix: str, header: str, how: ReadOptions) -> str:
    """What stands between the names of the columns. Raises DataError if that may be one of two."""
    usual = "\t" if suffix == ".tsv" else ","
    if how.header is not None:  # the first line is data, in which all signs may be: as many columns as there are names
        signs = [usual, *(sign for sign in "\t,;|" if sign != usual)]
        fits = [sign for sign in signs if len(next(csv.reader([header], delimiter=sign), [])) == len(how.names)]
        return fits[0] if fits else usual
    outside = re.sub(r'"[^"]*"', "", header) or header
    found = [usual] if usual in outside else [sign for sign in ",;\t|" if sign in outside]
    if len(found) > 1:
        raise DataError(
            f"{path}: the header has {' and '.join(_NAMES_OF[sign] for sign in found)}, "
            "so it is unclear which separates the columns",
            "separate the columns by commas, or by tabs in a file whose name ends in .tsv",
        )
    return found[0] if found else usual


def is_table(lines: list[str]) -> bool:
    """Whether the first lines of a text of any name are records: with tabs, or names of columns between commas."""
    counts = [line.count("\t") for line in lines]
    if counts and counts[0] and 2 * sum(count == counts[0] for count in counts) > len(counts):
        return True
    sign = max(",;|\t", key=lambda one: lines[0].count(one)) if lines else ","
    cells = lines[0].split(sign) if lines else []
    return len(cells) > 1 and all(re.fullmatch(r'\s*"?[^\W\d][\w .-]{0,40}"?\s*', cell) for cell in cells)
