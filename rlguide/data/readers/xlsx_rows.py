"""Rows of the one sheet with data in an Excel workbook; needs openpyxl, the extra `xlsx`."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlguide.data.readers.header import as_row, column_names
from rlguide.data.readers.packing import MOST_TIMES, MOST_UNPACKED
from rlguide.data.readers.source import ReadOptions, Row, Source, named
from rlguide.errors import DataError, pip_install


def open_xlsx(path: Path, how: ReadOptions) -> Source:
    """A workbook with the columns of its only sheet that is not empty. A position is a row of the sheet.

    Cells are text, numbers (whole ones as int), true or false, or None; a date is text. Raises DataError: openpyxl is
    not installed, several sheets hold data, or the file is broken; else as `column_names`.
    """
    if find_spec("openpyxl") is None:
        raise DataError(
            f"{path} is an Excel file, and openpyxl, which reads it, is not installed", pip_install("openpyxl")
        )
    _check_size(path)
    with _workbook(path) as book:
        sheets = [sheet.title for sheet in book.worksheets if next(_rows(sheet), None) is not None]
        if len(sheets) != 1:
            what = f"has several sheets with data: {named(sheets)}" if sheets else "is empty: no sheet has a cell"
            raise DataError(f"{path} {what}", "save the sheet with the pairs as a file of its own, .xlsx or .csv")
        first = next(_rows(book[sheets[0]]))[1]
        names, is_header = column_names(path, ["" if cell is None else str(cell) for cell in first], how)
        notes = [f"read the sheet {sheets[0]}; the others are empty"] if len(book.worksheets) > 1 else []
    if how.header is not None:
        notes.append(f"its columns are {', '.join(names)}, as --header says")
    return Source(path, "Excel", "row", partial(_read, sheets[0], names, int(is_header)), tuple(notes))


def _read(sheet: str, names: list[str], skipped: int, path: Path, _: frozenset[str] | None) -> Iterator[Row]:
    with _workbook(path) as book:
        for number, (position, cells) in enumerate(_rows(book[sheet])):
            if number < skipped:
                continue
            row = as_row(names, cells + [None] * (len(names) - len(cells)))
            yield Row(position, row, "" if row is not None else "has more cells than the header")


def _rows(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """The rows that are not empty, each with its number, without empty cells at the end."""
    sheet.reset_dimensions()  # some programs write wrong ones, and rows would be missing
    for number, values in enumerate(sheet.iter_rows(values_only=True), start=1):
        cells = list(map(_plain, values))
        while cells and cells[-1] in (None, ""):
            cells.pop()
        if cells:
            yield number, cells


def _plain(value: Any) -> Any:
    """A cell as JSON would have it."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value if isinstance(value, str | int | float | None) else str(value)


def _check_size(path: Path) -> None:
    """Raises DataError for a workbook that unpacks to what no table needs, or cannot be unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a complete Excel file: {error}", "save the file again") from error
    if size > max(MOST_UNPACKED, MOST_TIMES * path.stat().st_size):
        raise DataError(f"{path} unpacks to more than {MOST_TIMES} times its size", "save the table as .csv")


@contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    """The workbook, open for reading row by row. Whatever openpyxl raises in the block means that it is broken."""
    import warnings

    import openpyxl

    book = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and pictures, which do not matter
            with path.open("rb") as file:  # by its name, openpyxl refuses some that it can read
                book = openpyxl.load_workbook(file, read_only=True, data_only=True)
                yield book
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # KeyError, ParseError, BadZipFile, ...: it does not check what it reads
        from rlguide.errors import RlguideError

        if isinstance(error, RlguideError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a complete Excel file: {reason}", "save the file again") from error
    finally:
        if book is not None:
            book.close()
