"""What a person can do when rows cannot be read, with the line to type filled in as far as it can be guessed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.formats.base import Record, Wanted
from rlguide.data.formats.cells import TEXTS, is_empty
from rlguide.data.formats.labels import rating
from rlguide.data.formats.names import Meaning, meanings
from rlguide.data.formats.table import Column, Table
from rlguide.data.formats.verdicts import two_responses
from rlguide.errors import DataError, UsageError, did_you_mean

ROLES = (
    *("prompt", "input", "system", "history", "context", "conversation", "chosen", "rejected", "response", "list"),
    *("verdict", "best", "score", "score_chosen", "score_rejected", "scores", "ranks", "label", "split", "ignored"),
)
SEVERAL = ("system", "context", "ignored")  # roles that more than one column may have
MOST_USED = ("prompt", "system", "context", "chosen", "rejected", "response_a", "verdict", "label", "list", "ignored")
MOST_NAMES = 10  # columns in a message
WORDS = 2  # a text of so many may be a prompt or a response
ALIKE = 0.75  # of two names, by difflib


def given(wanted: Wanted, rows: Sequence[Record], path: object) -> dict[str, Meaning]:
    """What a person says of columns, as meanings. Raises UsageError for a column or a role that there is not."""
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = {}
    for column, role in wanted.columns:
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
    keyed = [meaning for meaning in meanings(said) if meaning.role in ("response", "score", "rank") and meaning.key]
    others = [Meaning(meaning.role) for meaning in meanings(said) if meaning.role in ROLES and not meaning.key]
    found = [*keyed, *others]
    if not found:
        near = did_you_mean(said, list(ROLES))
        raise UsageError(
            f"--columns: {role} is nothing that a column can hold{near}",
            f"write role=column; roles are {', '.join(MOST_USED)}",
        )
    return found[0]


def lost(path: object, column: str, text: str, late: bool = False) -> DataError:
    """The error for a piece of the prompt that would be lost, in one of the first rows or in a later one."""
    where = " in a later row" if late else ""
    return DataError(
        f"{path}: the column {column}{where} looks like a piece of the prompt ({text}), and nothing reads it",
        f"put it above the prompt with --columns context={column}, or leave it out with --columns ignored={column}",
    )


def unknown(table: Table, rows: list[Record], path: object, wanted: Wanted) -> DataError:
    """The error for rows that nothing fits: what they lack, and the line with the best guess."""
    names = named(list(table.all)) or "none"
    if wanted.form != "auto":
        return DataError(f"{path} cannot be read as {wanted.form}; its columns are {names}", "leave out --format")
    if two := two_responses(table):
        return DataError(
            f"{path}: {two[0]} and {two[1]} look like two responses, and no column says clearly which is better",
            'say it in a column winner (the letter or number at the end of its name, or "tie"), or name the column'
            " that does: --columns verdict=COLUMN",
        )
    if _one_response(table) and (rated := rating(table)):
        values = [value for value in rated.values if value is not None]
        return DataError(
            f"{path}: {rated.name} rates one response a row, from {min(values, key=float)} to {max(values, key=float)}",
            f"say from which rating on a response is good: --good-from {max(values, key=float)}",
        )
    guess = _guess(table)
    if len(guess) >= 3:
        option = ",".join(f"{role}={name}" for role, name in guess.items())
        return DataError(
            f"{path} has no columns that are known as a prompt and two responses; its columns are {names}",
            f"say which they are, for example with --columns {option}",
        )
    return DataError(
        f"{path} has no pairs and no labels: {_lacks(table)}; its columns are {names}", _what_to_have(table)
    )


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
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(sorted(names)[:MOST_NAMES]) + more


def _one_response(table: Table) -> bool:
    return bool(table.find("response", TEXTS) or table.find("conversation", ("messages", "dialogue")))


def _guess(table: Table) -> dict[str, str]:
    """prompt, chosen and rejected as far as names, misspelt ones too, and then the longest texts tell."""
    systems = [column.name for column in table.find("system")]
    texts = [
        column
        for column in table.columns.values()
        if column.kind in (*TEXTS, "exchanges") and column.name not in systems
    ]
    found: dict[str, str] = {}
    for role in ("prompt", "chosen", "rejected"):
        known = table.find(role, TEXTS) if role == "prompt" else table.find("response", TEXTS, role)
        near = [*known, *(column for column in texts if _sounds_like(column.name, role))]
        if left := [column for column in near if column.name not in found.values()]:
            found[role] = left[0].name
    rest = [column for column in texts if column.name not in found.values() and _words(column) >= WORDS]
    rest.sort(key=lambda column: -_words(column))
    missing = [role for role in ("prompt", "chosen", "rejected") if role not in found]
    if len(rest) >= len(missing) and len(missing) < 3:
        chosen = sorted(rest[: len(missing)], key=lambda column: table.all.index(column.name))
        found |= {role: column.name for role, column in zip(missing, chosen, strict=True)}
    return {role: found[role] for role in ("prompt", "chosen", "rejected") if role in found}


def _sounds_like(name: str, role: str) -> bool:
    known = [role, *vocabulary().names.get(role, ())]
    return bool(difflib.get_close_matches(plain(name), known, 1, ALIKE))


def _words(column: Column) -> float:
    held: list[Any] = [value for value in column.values if value is not None]
    return sum(len(str(value).split()) for value in held) / max(1, len(held))


def _lacks(table: Table) -> str:
    if _one_response(table):
        return "each row has one response, with nothing that says how good it is"
    return "no column is known as a response" if not table.find("list") else "nothing says which response is better"


def _what_to_have(table: Table) -> str:
    if _one_response(table):
        return "pairs need a second, worse response (rejected), KTO a column label (true or false), or a rating"
    return (
        "say what the columns hold with --columns prompt=...,chosen=...,rejected=..., or see the shapes in"
        " `rlguide register --help`"
    )
