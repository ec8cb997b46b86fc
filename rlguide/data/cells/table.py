"""The first rows of a file as columns: what each may be by its name, and what its cells hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from rlguide.catalog.columns import plain
from rlguide.data.cells.markup import response_of, style_of, turns_of
from rlguide.data.cells.names import Meaning, meanings
from rlguide.data.cells.packed import is_packed, unpacked
from rlguide.data.cells.values import EMPTY, Record, holds_messages, is_conversation, is_empty, kind
from rlguide.data.example import BadRow

Decoder = Callable[[Any], Any]
LISTS = ("list", "scores", "ranks", "history", "conversation", "verdict", "media")  # roles whose cells may be lists
MARKED = ("prompt", "input", "context", "conversation", "history", "response", "list")  # may be written as one text
HALF = 0.5  # share of the texts that must be JSON for a column to be read as such


class Column(NamedTuple):
    """A column that is not empty. kind: of most of its cells; values: of the first rows, None where one has nothing."""

    name: str
    kind: str
    values: list[Any]
    meanings: tuple[Meaning, ...]

    @property
    def held(self) -> list[Any]:
        """The values that are there."""
        return [value for value in self.values if value is not None]

    @property
    def roles(self) -> set[str]:
        """All that it may be."""
        return {meaning.role for meaning in self.meanings}

    @property
    def holds_talks(self) -> bool:
        """Whether some of its cells are conversations, of which a response is the last message."""
        return self.kind == "dialogue" or any(map(is_conversation, self.values))


class Table:
    """The columns of these rows; text that holds something else is decoded.

    Args:
        given: what a person says of columns: name -> role and key. Other columns are not looked for in its place.
        with_empty: whether columns that hold nothing in these rows count as text.
    """

    def __init__(
        self, rows: Sequence[Record], given: Mapping[str, Meaning] | None = None, with_empty: bool = False
    ) -> None:
        self.given = dict(given or {})
        self.decoders: dict[str, Decoder] = {}
        self._rows, self._with_empty = rows, with_empty
        names = dict.fromkeys(str(name) for row in rows for name in row)
        self.all = tuple(names)
        self.columns = {name: column for name in names if (column := self._column(name, rows)) is not None}
        self._decode_markup()
        self._join_lists()

    @property
    def rows(self) -> list[Record]:
        """The rows, decoded, without the columns that are empty in all of them."""
        cells = zip(*(column.values for column in self.columns.values()), strict=True)
        return [dict(zip(self.columns, row, strict=True)) for row in cells]

    def told(self, **columns: str) -> Table:
        """The same rows, if a person said this, too: role=column."""
        return Table(self._rows, self.given | {name: Meaning(role) for role, name in columns.items()})

    def find(self, role: str, kinds: Sequence[str] = (), key: str = "") -> list[Column]:
        """The columns that may have this role and hold cells of these kinds (() for any), the likeliest first."""
        found = [
            (meaning.order, at, column)
            for at, column in enumerate(self.columns.values())
            for meaning in column.meanings
            if (meaning.role, meaning.key) == (role, key) and (not kinds or column.kind in kinds)
        ]
        return [column for *_, column in sorted(found, key=lambda entry: entry[:2])]

    def keyed(self, role: str) -> dict[str, dict[str, Column]]:
        """The numbered columns of a role: base of their names -> number -> column."""
        found: dict[str, dict[str, Column]] = {}
        for column in self.columns.values():
            for meaning in column.meanings:
                if meaning.role == role and meaning.key not in ("", "chosen", "rejected"):
                    found.setdefault(meaning.base, {})[meaning.key] = column
        return found

    def given_as(self, role: str) -> tuple[str, ...]:
        """The columns of which a person said that they have this role."""
        return tuple(name for name in self.columns if name in self.given and self.given[name].role == role)

    def is_media(self, name: str) -> bool:
        """Whether a column holds pictures, tools and the like, by its name; also one that is empty in these rows."""
        return name not in self.given and any(meaning.role == "media" for meaning in meanings(name))

    def order(self, column: Column, role: str) -> int:
        """How likely this column has the role: 0 is the likeliest."""
        return min((meaning.order for meaning in column.meanings if meaning.role == role), default=99)

    def _column(self, name: str, rows: Sequence[Record]) -> Column | None:
        values = [None if is_empty(value := row.get(name)) else value for row in rows]
        held = [value for value in values if value is not None]
        said = (self.given[name],) if name in self.given else self._free(name)
        if not held:
            return Column(name, "text", values, said) if self._with_empty else None
        is_list = any(meaning.role in LISTS for meaning in said) and all(meaning.role != "response" for meaning in said)
        if _are_packed(held, is_list or (plain(name) == "output" and are_twos(map(_opened, held)))):
            decode = self.decoders[name] = partial(_unpack, name)
            values = [_tried(decode, value) for value in values]
            held = [value for value in values if value not in EMPTY]
        kinds = Counter(map(kind, held))
        return Column(name, kinds.most_common(1)[0][0] if kinds else "text", values, said)

    def _free(self, name: str) -> tuple[Meaning, ...]:
        taken = {(meaning.role, meaning.key) for meaning in self.given.values()}
        return tuple(meaning for meaning in meanings(name) if (meaning.role, meaning.key) not in taken)

    def _decode_markup(self) -> None:
        """Find the columns that are dialogues or rendered templates.

        The responses to such a prompt lose what ends a turn.
        """
        prompt_style, plain = None, []
        for column in list(self.columns.values()):
            texts = [value for value in column.values if isinstance(value, str)]
            if not texts or column.roles.isdisjoint(MARKED):
                continue
            style = style_of(texts)
            if style is None:
                plain += [column.name] if "response" in column.roles else []
                continue
            if "response" not in column.roles:
                prompt_style = style
            decode = self.decoders[column.name] = partial(turns_of, style)
            values = [_tried(decode, value) for value in column.values]
            self.columns[column.name] = column._replace(kind="dialogue", values=values)
        if prompt_style is not None:
            self.decoders |= {name: partial(response_of, prompt_style) for name in plain if name not in self.decoders}

    def _join_lists(self) -> None:
        """Find prompts and responses that are lists of the turns of one side, also as text (Chatbot Arena's CSV).

        A single response that is such a list may be JSON on purpose.
        """
        for prompt in self.find("prompt"):
            asked = _lists(prompt)
            given = [(column, _lists(column)) for column in self.columns.values() if "response" in column.roles]
            same = [(column, lists) for column, lists in given if _are_as_long(lists, asked)]
            for column, lists in ((prompt, asked), *same) if asked and len(same) > 1 else ():
                if any(isinstance(value, str) for value in column.values):
                    self.decoders[column.name] = partial(_unpack, column.name)
                self.columns[column.name] = column._replace(kind="one text", values=lists)


def are_twos(values: Iterable[Any]) -> bool:
    """Whether all are lists of two, as LLaMA-Factory's rankings; lists of other lengths are samples, or answers."""
    return all(isinstance(value, list) and len(value) == 2 for value in values)


def _opened(value: Any) -> Any:
    return unpacked(value) if isinstance(value, str) else value


def _lists(column: Column) -> list[Any]:
    """The values as lists of texts; [] if they are not all such lists."""
    found = [*map(_opened, column.values)]
    lists = all(isinstance(value, list) and value and all(isinstance(one, str) for one in value) for value in found)
    return found if lists else []


def _are_as_long(lists: list[Any], others: list[Any]) -> bool:
    """Whether most of these lists have as many entries as the others."""
    same = sum(len(one) == len(other) for one, other in zip(lists, others, strict=False))
    return bool(lists) and same >= HALF * len(others)


def _unpack(name: str, text: str) -> Any:
    value = unpacked(text)
    if value is None and is_packed(text):
        raise BadRow(f"{name} is not JSON")
    return text if value is None else value


def _tried(decode: Decoder, value: Any) -> Any:
    try:
        return decode(value) if isinstance(value, str) else value
    except BadRow:
        return value


def _are_packed(values: list[Any], is_list: bool) -> bool:
    """Whether most of the texts of a column are messages as JSON or Python (where lists are usual: any list)."""
    texts = [value for value in values if isinstance(value, str)]
    looking = [text for text in texts if is_packed(text)]
    if not looking or len(looking) < HALF * len(texts):
        return False
    found = [unpacked(text) for text in looking]
    fitting = [value for value in found if value is not None and (is_list or holds_messages(value))]
    return len(fitting) >= HALF * len(looking)
