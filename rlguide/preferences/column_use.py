"""Which columns a conversion really uses, and whether one that it leaves out holds a piece of the prompt.

A piece of the prompt that is dropped without a word is the worst that can happen to preference data: every pair looks
right, and the model learns to answer questions that nobody asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from rlguide.preferences.label_formats import LabelFormat
from rlguide.preferences.pair import BadRow
from rlguide.preferences.row_parts import Format, Record

Form = Format | LabelFormat

# Names of columns that hold a piece of what is asked, in small letters and without signs; all that begin with
# "system", too.
PIECES = {
    *("prompt", "prompts", "userprompt", "instruction", "instructions", "input", "inputs", "userinput"),
    *("query", "userquery", "question", "questiontext", "usermessage", "premise", "background"),
    *("context", "contexts", "passage", "passages", "document", "documents", "article"),
    *("history", "chathistory", "conversationhistory", "messages", "conversation", "conversations"),
    *("dialogue", "dialog", "persona", "preamble", "sysprompt"),
}
TEXT_KEYS = ("content", "value", "text")  # of a message, which has a role beside its text


class Loss(NamedTuple):
    """A column whose text is in nothing that comes of its row."""

    column: str
    text: str


def used(form: Form, rows: list[Record]) -> set[str]:
    """The columns without which these rows would become something else; all there are, if no row is any good."""
    found: set[str] = set()
    good = [row for row in rows if not isinstance(_made(form, row), str)]
    for row in good:
        found |= _needed(form, row)
    return found if good else {column for row in rows for column in row if column in form.columns}


def find_loss(form: Form, rows: list[Record]) -> Loss | None:
    """The first column that is called like a piece of a prompt and whose text would be lost in one of these rows."""
    for row in rows:
        columns = [column for column in row if _is_piece(column)]
        made = _made(form, row)
        if isinstance(made, str) or not made or not columns:
            continue
        whole = _plain(" ".join(_texts(made)))
        needed = _needed(form, row)
        for column in columns:
            for text in _texts(row[column]):
                if column not in needed and _plain(text) not in whole:
                    return Loss(column, text)
    return None


def _made(form: Form, row: Record) -> Any:
    """What comes of a row, or the reason why nothing does."""
    try:
        return form.to_labelled(row) if isinstance(form, LabelFormat) else form.to_pairs(row)
    except BadRow as reason:
        return str(reason)


def _needed(form: Form, row: Record) -> set[str]:
    """A smallest set of columns that makes the same of the row; where two say the same, the one named first."""
    made = _made(form, row)
    left = {column: row[column] for column in form.columns if row.get(column) is not None}
    for column in reversed(list(left)):
        less = {other: value for other, value in left.items() if other != column}
        if _made(form, less) == made:
            left = less
    return set(left)


def _is_piece(column: Any) -> bool:
    name = "".join(filter(str.isalnum, str(column).lower()))
    return name in PIECES or (name.startswith("system") and not name.endswith(("id", "name", "fingerprint", "hash")))


def _texts(value: Any) -> Iterator[str]:
    """All texts within a value that are more than blanks; of messages not the role."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        message = not {"role", "from", "type"}.isdisjoint(value)
        for key, part in value.items():
            if not message or key in TEXT_KEYS:
                yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _plain(text: str) -> str:
    return " ".join(text.split())
