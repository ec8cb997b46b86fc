"""What a way to read rows is made of, before a file's rows are read with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rlguide.data.example import BadRow, Example, ExampleKind
from rlguide.data.formats.cells import is_empty

Record = dict[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What a person says of the rows.

    form: the name of a shape, or "auto". columns: column -> what it holds, as `prompt` or `response_a`. pairing: how a
    list of scored responses becomes pairs. good_from: the rating from which on a single response is desirable.
    """

    form: str = "auto"
    columns: tuple[tuple[str, str], ...] = ()
    pairing: str = "best-worst"
    good_from: float | None = None


AND = "\x1f"  # between the names of columns in `Shape.used`


class Shape(NamedTuple):
    """One way to read rows: `used` are the columns by what they hold, `needed` those that a row must have.

    only_if_asked: it is never chosen, unless a person names the shape.
    """

    name: str
    kind: ExampleKind
    used: dict[str, str]
    needed: tuple[str, ...]
    convert: Callable[[Record], list[Example]]
    note: str = ""
    only_if_asked: bool = False

    @property
    def columns(self) -> set[str]:
        """All columns that are used."""
        return {name for names in self.used.values() for name in names.split(AND)}

    def fits(self, row: Record) -> bool:
        """Whether a row has what is needed, good or not."""
        return all(not is_empty(row.get(column)) for column in self.needed)


def can_read(read: Callable[[Any], object], value: Any) -> bool:
    """Whether `read` takes a value, and does not refuse it as a BadRow."""
    try:
        read(value)
    except BadRow:
        return False
    return True


def refuse_media(row: Record, columns: Iterable[str]) -> None:
    """Raises BadRow for tools, pictures and other media, which would be dropped without a word."""
    for column in columns:
        value = row.get(column)
        nothing = is_empty(value) or (isinstance(value, str) and value.strip() in ("", "[]", "{}", "null", "None"))
        if not nothing:
            raise BadRow("uses tools or media, which this version does not carry")
