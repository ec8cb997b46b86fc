"""The first line of a table: whether it names the columns, and how to name them where it does not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rlguide.data.readers.source import ReadOptions, named
from rlguide.data.readers.words import IN_CHINESE_NAMES, IN_NAMES
from rlguide.errors import DataError, UsageError

USUAL = ("prompt", "chosen", "rejected")
LONGEST_NAME = 64  # characters; a longer cell of a first line is data
SHOWN = 40  # characters of a cell in a message
MOST_WORDS = 5
_NUMBER = re.compile(r"[-+]?\d+(?:[.,]\d+)?%?")
_SENTENCE_END = (".", "?", "!", "。", "？", "！", "…")
_NAME = re.compile(r"[^\W\d][\w.\-:/]*(?:\s?\([^()]*\))?")  # one word, perhaps with a remark in brackets


def has_names(cells: list[str]) -> bool:
    """Whether these cells may name columns, and are not a row of data."""
    cells = [cell.strip() for cell in cells if cell.strip()]
    if _are_numbers_of_columns(cells):
        return True
    known = [_is_known(cell) for cell in cells]
    data = sum(_is_data(cell) for cell, is_known in zip(cells, known, strict=True) if not is_known)
    if any(known):
        return 2 * data <= len(cells)
    return 2 * data < len(cells) and any(_NAME.fullmatch(cell) for cell in cells)


def _are_numbers_of_columns(cells: list[str]) -> bool:
    """Whether these are 0, 1, 2, ..., which pandas writes where columns have no names."""
    return cells == [str(number) for number in range(len(cells))] and len(cells) > 1


def _is_known(cell: str) -> bool:
    if len(cell) <= 8 and IN_CHINESE_NAMES.search(cell):
        return True
    words = re.findall(r"[^\W_]+", cell.lower())
    sentence = cell.endswith(_SENTENCE_END) and len(words) > 1 and not cell.endswith("?")
    known = any(word in IN_NAMES or re.sub(r"\d+$", "", word) in IN_NAMES for word in words)
    return known and len(words) <= MOST_WORDS and not sentence


def _is_data(cell: str) -> bool:
    long = len(cell) > LONGEST_NAME or "\n" in cell
    return long or bool(_NUMBER.fullmatch(cell)) or cell.endswith(_SENTENCE_END) or cell[0] in "[{<"


def unnamed(path: Path, what: str, width: int) -> DataError:
    """What to say of a table without names: as many names as there are columns, to be pasted and corrected."""
    usual = USUAL if width > 2 else USUAL[1:]
    names = [usual[at] if at < len(usual) else f"column_{at + 1}" for at in range(width)]
    return DataError(f"{path} {what}", f"name its columns, in their order: --header {','.join(names)}")


def check_number(path: Path, names: list[str], width: int) -> None:
    """Raises UsageError unless there are as many names as columns."""
    if len(names) != width:
        one = "1 column" if width == 1 else f"{width} columns"
        raise UsageError(f"{path} has {one}, and --header names {len(names)}", str(unnamed(path, "", width).fix))


def column_names(path: Path, first: list[str], how: ReadOptions) -> tuple[list[str], bool]:
    """The names of the columns, and whether `first`, the first line of the table, is that with the names.

    Raises:
        DataError: it does not name them, or two alike. UsageError: --header names them although it does.
    """
    cells = [cell.strip() for cell in first]
    if how.header is not None:
        names = how.names
        if sorted(map(str.lower, names)) == sorted(cell.lower() for cell in cells if cell):
            raise UsageError(f"{path} has a header line: {named(cells)}", "leave out --header")
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        check_number(path, names, len(cells))
        return names, _are_numbers_of_columns(cells)
    while len(cells) > 1 and not cells[-1]:  # Excel writes columns that were emptied
        cells.pop()
    if len(cells) == 1 and (len(first) > 1 or not has_names(cells)):
        raise DataError(
            f"{path} begins with one cell, {cells[0][:SHOWN]!r}, which is a title and no line of names",
            "delete what stands above the line with the names of the columns",
        )
    if cells and not has_names(cells):
        shown = ", ".join(repr(cell[:20] + "..." * (len(cell) > 20)) for cell in cells[:3])
        raise unnamed(path, f"has no header line: its first line is {shown}{', ...' * (len(cells) > 3)}", len(cells))
    blank = sum(not cell for cell in cells)
    names = [cell or (f"column_{at}" if blank > 1 else "") for at, cell in enumerate(cells, start=1)]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: more than one column is called {named(twice)}",
            "give each column a name of its own in the first line",
        )
    return names, True


def as_row(names: list[str], cells: list[Any]) -> dict[str, Any] | None:
    """A record under these names; None if it has another number of cells. Empty cells at its end do not count."""
    if len(cells) > len(names) and not any(cell not in (None, "") for cell in cells[len(names) :]):
        cells = cells[: len(names)]
    return dict(zip(names, cells, strict=True)) if len(cells) == len(names) else None
