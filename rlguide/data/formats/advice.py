"""What a person can do when rows cannot be read, with the line to type filled in as far as it can be guessed."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.formats.base import Record, Wanted
from rlguide.data.formats.cells import TEXTS, is_empty, is_word
from rlguide.data.formats.labels import is_label, rating
from rlguide.data.formats.names import Meaning, meanings, name_parts, side_of
from rlguide.data.formats.prompts import possible_prompts
from rlguide.data.formats.table import Column, Table
from rlguide.data.formats.verdicts import two_responses, two_ways
from rlguide.errors import DataError, UsageError, did_you_mean

ROLES = (
    *("prompt", "input", "system", "history", "context", "conversation", "chosen", "rejected", "response", "list"),
    *("verdict", "best", "score", "score_chosen", "score_rejected", "scores", "ranks", "label", "split", "ignored"),
)
MOST_NAMES = 10  # columns in a message
WORDS = 2  # a text of so many may be a prompt or a response
ALIKE = 0.75  # of two names, by difflib
_NUMBERED = ("response", "score", "rank", "flag")  # roles with a number: response_a


def given(wanted: Wanted, rows: Sequence[Record], path: object) -> dict[str, Meaning]:
    """What a person says of columns, as meanings. Raises UsageError for a column or a role that there is not."""
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    found = {}
    for column, role in wanted.columns:
        if column not in there:
            raise UsageError(f"{path} has no column {column}{did_you_mean(column, there)}", f"it has {named(there)}")
        found[column] = _meaning(role)
    return found


def check_columns(columns: Sequence[tuple[str, str]]) -> None:
    """Raises UsageError for a role that there is not."""
    for _, role in columns:
        _meaning(role)


def _meaning(role: str) -> Meaning:
    if role in ROLES and role not in ("chosen", "rejected") and not role.startswith("score_"):
        return Meaning(role)
    found = [meaning for meaning in meanings(role) if meaning.role in _NUMBERED and meaning.key]
    if not found:
        near = did_you_mean(role, list(ROLES))
        raise UsageError(
            f"--columns: {role} is nothing that a column can hold{near}",
            f"choose from {', '.join(ROLES)}, response_a, response_b, winner_a",
        )
    return found[0]


def lost(path: object, column: str, text: str, wanted: Wanted, late: bool = False) -> DataError:
    """The error for a piece of the prompt that would be lost, in one of the first rows or in a later one."""
    where = " in a later row" if late else ""
    above, out = (_option([*wanted.columns, (column, role)]) for role in ("context", "ignored"))
    return DataError(
        f"{path}: the column {column}{where} looks like a piece of the prompt ({text}), and nothing reads it",
        f"put it above the prompt with {above}, or leave it out with {out}",
    )


def _option(columns: Sequence[tuple[str, str]]) -> str:
    """What to type to say what these columns hold."""
    return f"--columns {shlex.quote(','.join(f'{role}={column}' for column, role in columns))}"


def unknown(table: Table, rows: list[Record], path: object, wanted: Wanted) -> DataError:
    """The error for rows that nothing fits: what they lack, and the line with the best guess."""
    names = named(list(table.all)) or "none"
    if wanted.form != "auto":
        return DataError(f"{path} cannot be read as {wanted.form}; its columns are {names}", "leave out --format")
    if several := [
        column.name for side in ("chosen", "rejected") for column in table.find("response", ("texts",), side)
    ]:
        return DataError(
            f"{path}: {several[0]} is a list of several texts a row, and a pair has one chosen and one rejected text",
            "write one row for each pair of them",
        )
    two = two_responses(table)
    if two and (asked := _unknown_prompt(table, two)):
        option = _option([*wanted.columns, (asked, "prompt")])
        return DataError(f"{path}: no column is known as the prompt; its columns are {names}", f"say it with {option}")
    if two and (ways := two_ways(table)):
        first, second = (_option([*wanted.columns, (ways[0], f"winner_{end}")]) for end in ways[1:])
        return DataError(
            f"{path}: {ways[0]} says which of {two[0]} and {two[1]} is better, and not which of them 1 (or yes) means",
            f"if it is {two[0]}: {first}; if it is {two[1]}: {second}",
        )
    if two:
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
    if single := _single(table):
        return DataError(
            f"{path} has labels, and no columns that are known as a prompt and a response; its columns are {names}",
            f"say which they are, for example with {_option([*wanted.columns, *single])}",
        )
    guess = _guess(table)
    if len(guess) >= 3:
        said = [one for one in wanted.columns if one[0] not in guess.values()]
        option = _option([*said, *((name, role) for role, name in guess.items())])
        return DataError(
            f"{path} has no columns that are known as a prompt and two responses; its columns are {names}",
            f"say which they are, for example with {option}",
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
        if column.kind in (*TEXTS, "exchanges") and column.kind != "object" and column.name not in systems
        if not vocabulary().parts["media"].intersection(name_parts(column.name)) and not _says_which(column)
    ]
    found: dict[str, str] = {}
    for role in ("prompt", "chosen", "rejected"):
        known = table.find(role, TEXTS) if role == "prompt" else table.find("response", TEXTS, role)
        near = [*known, *(column for column in texts if _says(column.name, role))]
        if left := [column for column in near if column.name not in found.values() and not _says_which(column)]:
            found[role] = left[0].name
    others = {column.name for role in ("input", "context", "history") for column in table.find(role)}
    rest = [column for column in texts if column.name not in {*found.values(), *others}]
    rest = sorted(rest, key=lambda column: -_words(column))
    missing = [role for role in ("prompt", "chosen", "rejected") if role not in found]
    if len(rest) >= len(missing) and len(missing) < 3:
        chosen = sorted(rest[: len(missing)], key=lambda column: table.all.index(column.name))
        found |= {role: column.name for role, column in zip(missing, chosen, strict=True)}
    return {role: found[role] for role in ("prompt", "chosen", "rejected") if role in found}


def _says_which(column: Column) -> bool:
    """Whether a column names the better response, or a user or a task, and is no text itself."""
    roles = {meaning.role for meaning in column.meanings}
    may_be = not roles.isdisjoint(("verdict", "best", "label", "flag")) or plain(column.name) in vocabulary().not_pieces
    return may_be and all(map(is_word, column.values))


def _unknown_prompt(table: Table, two: tuple[str, str]) -> str:
    """The column with the longest texts beside two responses, where none is known as the prompt; "" for none."""
    if next(possible_prompts(table), None) is not None:
        return ""
    texts = [column for column in table.columns.values() if column.kind == "text" and column.name not in two]
    longest = max(texts, key=_words, default=None)
    return longest.name if longest is not None and _words(longest) >= WORDS else ""


def _single(table: Table) -> list[tuple[str, str]]:
    """A prompt and a response by a word in their names, beside a column of labels; [] if there are none."""
    if not any(map(is_label, table.find("label"))):
        return []
    texts = [column.name for column in table.columns.values() if column.kind == "text"]
    words = {"prompt": vocabulary().names["prompt"], "response": vocabulary().names["response"]}
    found = [
        (next((name for name in texts if any(part in known for part in name_parts(name))), ""), role)
        for role, known in words.items()
    ]
    return found if all(name for name, _ in found) and found[0][0] != found[1][0] else []


def _says(name: str, role: str) -> bool:
    """Whether a name sounds like the role, or has a word for it among others."""
    known = [role, *vocabulary().names.get(role, ())]
    return role in map(side_of, name_parts(name)) or bool(difflib.get_close_matches(plain(name), known, 1, ALIKE))


def _words(column: Column) -> float:
    held: list[Any] = [value for value in column.values if value is not None]
    return sum(len(str(value).split()) for value in held) / max(1, len(held))


def _lacks(table: Table) -> str:
    if _one_response(table):
        return "each row has one response, with nothing that says how good it is"
    listed = table.find("list") or table.find("response", ("texts",))
    return "nothing says which response is better" if listed else "no column is known as a response"


def _what_to_have(table: Table) -> str:
    if _one_response(table):
        return "pairs need a second, worse response (rejected), KTO a column label (true or false), or a rating"
    if table.find("list") or table.find("response", ("texts",)):
        return "if each list is in order, the best one first: --format ranked-list; else add a list of scores (scores)"
    return (
        f"say what the columns hold with --columns prompt={_inside(table) or '...'},chosen=...,rejected=..., or see the"
        " shapes in `rlguide register --help`"
    )


def _inside(table: Table) -> str:
    """A text in an object that is called like a prompt, as a person names it: `info.post`."""
    if next(possible_prompts(table), None) is not None:
        return ""
    known = vocabulary().names["prompt"]
    objects = [(column.name, value) for column in table.columns.values() for value in column.values[:1]]
    texts = [(name, key, text) for name, value in objects if isinstance(value, dict) for key, text in value.items()]
    return next((f"{name}.{key}" for name, key, text in texts if plain(key) in known and isinstance(text, str)), "")
