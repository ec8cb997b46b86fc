"""Rows of a CSV file, whatever separates its columns."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from rlguide.data.readers.source import Row, open_text, text_suffix
from rlguide.errors import DataError


def read_csv(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Records of a CSV file, every cell as text. A position is a record's first line.

    The separator is a comma, or a tab if the name ends in .tsv; if the header has none of these, the semicolon, tab
    or comma that it has.
    """
    import csv
    import io

    csv.field_size_limit(1 << 30)
    line = 1
    with open_text(path) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", newline="") as file:
        try:
            first = file.readline()
            records = csv.reader(chain([first], file), delimiter=_separator(path, first), strict=True)
            names = [name.strip() for name in next(records, [])]
            while True:
                line = records.line_num + 1
                record = next(records, None)
                if record is None:
                    return
                if record and len(record) != len(names):
                    yield Row(line, None, "has another number of fields than the header")
                elif record:  # not an empty line
                    yield Row(line, dict(zip(names, record, strict=True)))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8, in line {line} or soon after it", "save the file as UTF-8"
            ) from error
        except csv.Error as error:
            raise DataError(f"{path} is not CSV: {error}, in the record from line {line} on", "fix the file") from error


def _separator(path: Path, header: str) -> str:
    """What stands between the names of the columns. Raises DataError if that may be one of two."""
    usual = "\t" if text_suffix(path) == ".tsv" else ","
    found = [usual] if usual in header else [sign for sign in ",;\t" if sign in header]
    if len(found) > 1:
        raise DataError(
            f"{path}: the header has semicolons and tabs, so it is unclear which separates the columns",
            "separate the columns by commas, or by tabs in a file whose name ends in .tsv",
        )
    return found[0] if found else usual
