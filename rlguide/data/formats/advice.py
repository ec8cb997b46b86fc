"""What a person can do when rows cannot be read, with the line to type filled in as far as it can be guessed."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rlguide.data.formats.base import Record, Wanted
from rlguide.data.formats.cells import is_empty
from rlguide.data.formats.names import Meaning, meanings
from rlguide.data.formats.table import Table
from rlguide.data.readers.source import named as first_of
from rlguide.errors import DataError, UsageError, did_you_mean

ROLES = (
    *("prompt", "input", "system", "history", "context", "conversation", "chosen", "rejected", "response", "list"),
    *("verdict", "best", "score", "score_chosen", "score_rejected", "scores", "ranks", "label", "split", "ignored"),
)
SEVERAL = ("system", "context", "ignored")  # roles that more than one column may have
MOST_USED = ("prompt", "system", "context", "chosen", "rejected", "response_a", "verdict", "label", "list", "ignored")
WORDS = 2  # a text of so many may be a prompt or a response
_NUMBERED = ("response", "score", "rank", "flag")  # roles with a number, as in response_a


def given(wanted: Wanted, rows: Sequence[Record], path: object) -> dict[str, Meaning]:
    """What a person says of columns, as meanings. Raises UsageError for a column or a role that there is not."""
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = {}
    for called, role in wanted.columns:
        alike = [name for name in there if name.strip().lower() == called.lower()]
        column = alike[0] if called not in there and len(alike) == 1 else called
        if column not in there and role in there:
            raise UsageError(
                f"{path} has no column {column}: the name of the column goes after the sign",
                f"write --columns {','.join(f'{column}={role}' for column, role in wanted.columns)}",
            )
        if column not in there:
            raise UsageError(f"{path} has no column {column}{did_you_mean(column, there)}", f"it has {named(there)}")
        found[column] = _meaning(role)
    return found


def check_columns(columns: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError for a role that there is not, or that two columns are given and one can have."""
    found: dict[Meaning, str] = {}
    for column, role in columns:
        meaning = _meaning(role)
        if found.setdefault(meaning, column) != column and meaning.role not in SEVERAL:
            raise UsageError(
                f"--columns: both {found[meaning]} and {column} are said to be the {role}",
                f"name one of them; what belongs above the prompt is context, as in --columns context={column}",
            )


def _meaning(role: str) -> Meaning:
    """What a word before the sign says: a role in small or large letters, or a name that a column of it may have."""
    said = role.lower()
    if said in ROLES and said not in ("chosen", "rejected") and not said.startswith("score_"):
        return Meaning(said)
    keyed = [meaning for meaning in meanings(said) if meaning.role in _NUMBERED and meaning.key]
    others = [Meaning(meaning.role) for meaning in meanings(said) if meaning.role in ROLES and not meaning.key]
    found = [*keyed, *others]
    if not found:
        near = did_you_mean(said, list(ROLES))
        raise UsageError(
            f"--columns: {role} is nothing that a column can hold{near}",
            f"write role=column; roles are {', '.join(MOST_USED)}",
        )
    return found[0]


def lost(path: object, column: str, text: str, wanted: Wanted, late: bool = False) -> DataError:
    """The error for a piece of the prompt that would be lost, in one of the first rows or in a later one."""
    where = " in a later row" if late else ""
    above, out = (option([*wanted.columns, (column, role)]) for role in ("context", "ignored"))
    return DataError(
        f"{path}: the column {column}{where} looks like a piece of the prompt ({text}), and nothing reads it",
        f"put it above the prompt with {above}, or leave it out with {out}",
    )


def option(columns: Sequence[tuple[str, str]]) -> str:
    """What to type to say what these columns hold."""
    return f"--columns {shlex.quote(','.join(f'{role}={column}' for column, role in columns))}"


def may_be_prompt(table: Table, used: set[str]) -> bool:
    """Whether a column that nothing reads may be the prompt: a text of several words, or a list."""
    return any(
        isinstance(value, list | dict | tuple) or (isinstance(value, str) and len(value.split()) >= WORDS)
        for name, column in table.columns.items()
        if name not in used and not table.is_media(name)
        for value in column.values
        if not is_empty(value)
    )


def named(names: Sequence[str]) -> str:
    """Columns in a message, and how many more there are."""
    return first_of(sorted(names))
