"""Which columns a conversion really uses, and whether one that it leaves out holds a piece of the prompt.

A piece of the prompt that is dropped without a word is the worst that can happen to preference data: every pair looks
right, and the model learns responses to prompts that were never written.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any, NamedTuple

from rlguide.data.example import GPT, HUMAN, ROLES, BadRow, Example, Turn, prompt_key
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import PIECES

TEXT_KEYS = ("content", "value", "text")  # of a message or a document; its other keys describe it


class Loss(NamedTuple):
    """A column whose text is in nothing that comes of its row."""

    column: str
    text: str


def used(form: Format, rows: list[Record]) -> set[str]:
    """The columns without which these rows would become something else; all there are, if no row is any good."""
    found: set[str] = set()
    good = [row for row in rows if not isinstance(_made(form, row), str)]
    for row in good:
        found |= _needed(form, row)
    return found if good else {column for row in rows for column in row if column in form.columns}


def find_loss(form: Format, rows: list[Record]) -> Loss | None:
    """The first column that is called like a piece of a prompt and whose text would be lost in one of these rows."""
    for row in rows:
        columns = [column for column in row if _is_piece(column) and not _is_label(row[column])]
        made = _made(form, row) if columns else []
        if isinstance(made, str) or not made:
            continue
        whole, needed = _plain(" ".join(text for example in made for text in example.texts)), _needed(form, row)
        for column in columns:
            if column in needed:
                continue
            for text in _texts(row[column]):
                if _plain(text) not in whole:
                    return Loss(column, text)
    return None


def _made(form: Format, row: Record) -> list[Example] | str:
    """What comes of a row, or the reason why nothing does."""
    try:
        return form.to_examples(row)
    except BadRow as reason:
        return str(reason)


def _needed(form: Format, row: Record) -> set[str]:
    """A smallest set of columns that makes the same of the row; where two say the same, the one named first."""
    made = _made(form, row)
    left = {column: row[column] for column in form.columns if row.get(column) is not None}
    for column in reversed(list(left)):
        less = {other: value for other, value in left.items() if other != column}
        if _made(form, less) == made:
            left = less
    return set(left)


def _is_piece(column: Any) -> bool:
    return "".join(filter(str.isalnum, str(column).lower())) in PIECES


def _is_label(value: Any) -> bool:
    """Whether a cell says what kind a row is, or where it is from: one word, an address."""
    return isinstance(value, str) and value.isascii() and len(value.split()) == 1


def _texts(value: Any) -> Iterator[str]:
    """What is asked or told in a value: all texts, but of messages and objects no roles, responses and descriptions."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        role = value.get("role", value.get("from"))
        if not (isinstance(role, str) and ROLES.get(role.lower()) == GPT):
            for key, part in value.items():
                if key in TEXT_KEYS or _is_piece(key):
                    yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _plain(text: str) -> bytes:
    """The text as prompts are compared."""
    return prompt_key([Turn(HUMAN, html.unescape(text))])
