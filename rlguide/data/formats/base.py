"""What a way to read rows is made of, before a file's rows are read with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from rlguide.data.cells.values import Record, is_empty
from rlguide.data.example import Example, ExampleKind

# What a person may force, and what is said of it in the help of `register`.
SHAPES = {
    "pair": "a prompt, a chosen and a rejected response; also whole conversations, or one and a rejected response",
    "comparison": "a prompt, two responses (response_a and response_b, ...) and which is the better one",
    "scored-list": "a prompt and a list of responses with scores, ranks or the place of the best one",
    "ranked-list": "a prompt and a list of responses in order, the best one first",
    "implicit-text": "chosen and rejected as text that begins with the same prompt, and no prompt",
    "label": "a prompt and one response with a label, or with a rating and --good-from",
    "response": "a prompt and one response; also conversations that end with it",
}
_SINGLE: dict[str, ExampleKind] = {"label": "labels", "response": "responses"}
KINDS: dict[str, ExampleKind] = {name: _SINGLE.get(name, "pairs") for name in SHAPES}
# Two responses of a row, the better one first (texts, messages or whole conversations), their names for a message, and
# their scores where the row has both. A plain tuple, for one is made of each row.
Couple = tuple[Any, Any, tuple[str, str], tuple[float, float] | None]
Used = dict[str, tuple[str, ...]]  # what columns hold -> their names


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


class Way(NamedTuple):
    """A way to find the responses of a row and tell which is better, whatever the prompt is.

    name: one of `SHAPES`. needed: the columns that a row must have. couples: those of a row, [] where no response is
    better than another; raises BadRow. whole: whether the responses may be conversations that hold the prompt.
    only_if_asked: it is never chosen, unless a person names the shape.
    """

    name: str
    used: Used
    needed: tuple[str, ...]
    couples: Callable[[Record], list[Couple]]
    whole: bool = False
    note: str = ""
    only_if_asked: bool = False


class Shape(NamedTuple):
    """One way to read rows, prompt and all: `convert` makes the examples of a row, or raises BadRow."""

    name: str
    used: Used
    needed: tuple[str, ...]
    convert: Callable[[Record], list[Example]]
    note: str = ""
    only_if_asked: bool = False

    @property
    def kind(self) -> ExampleKind:
        """What comes of the rows."""
        return KINDS[self.name]

    @property
    def columns(self) -> set[str]:
        """All columns that are used."""
        return {name for names in self.used.values() for name in names}

    def fits(self, row: Record) -> bool:
        """Whether a row has what is needed, good or not."""
        return all(not is_empty(row.get(column)) for column in self.needed)
