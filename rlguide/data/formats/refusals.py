"""What to say of rows that nothing fits: what is wrong, and a line that reads them, tried before it is shown."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.names import Meaning, name_parts, side_of
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import NUMBERS, TEXTS, Record, is_empty, is_word, number
from rlguide.data.example import BadRow
from rlguide.data.formats.base import Shape, Wanted
from rlguide.data.formats.implicit import shorten
from rlguide.data.formats.labels import rating
from rlguide.data.formats.lost import Loss
from rlguide.data.formats.shapes import find_shapes
from rlguide.data.formats.verdicts import numbers_of_two, two_responses
from rlguide.data.readers.source import named
from rlguide.errors import DataError

WORDS = 2  # a text of so many may be a prompt or a response
ALIKE = 0.75  # of two names, by difflib
MOST_VALUES = 5  # different values of a column that says which response is better, or whether one is good
LONGEST_VALUE = 30  # characters of such a value
_NO_TEXTS = ("score", "scores", "rank", "ranks", "label", "verdict", "best", "split", "media", "list")
_HOLDS = {"flag": "true or false", "number": "numbers", "numbers": "lists of numbers", "texts": "lists of texts"}
_SHOW = "see the shapes in `rlguide register --help`"


def unknown(table: Table, rows: list[Record], path: object, wanted: Wanted) -> DataError:
    """The error for rows that nothing fits: what they lack, and the line with the best guess."""
    names = named(sorted(table.all)) or "none"
    if wanted.form != "auto":
        return DataError(f"{path} cannot be read as {wanted.form}; its columns are {names}", "leave out --format")
    for advice in (_of_sides, _of_two, _of_list, _of_one):
        if found := advice(table, rows, wanted):
            return DataError(f"{path}: {found[0]}", found[1])
    guess = _guess(table)
    if len(guess) >= 3:
        said = [one for one in wanted.columns if one[0] not in guess.values()]
        return DataError(
            f"{path} has no columns that are known as a prompt and two responses; its columns are {names}",
            f"say which they are, for example with {option([*said, *((name, role) for role, name in guess.items())])}",
        )
    if table.find("response", TEXTS) or table.find("conversation", ("messages", "dialogue")):
        return DataError(
            f"{path} has no pairs and no labels: each row has one response, with nothing that says how good it is;"
            f" its columns are {names}",
            "pairs need a second, worse response (rejected), KTO a column label (true or false), or a rating",
        )
    return DataError(
        f"{path} has no pairs and no labels: no column is known as a response; its columns are {names}",
        f"say what the columns hold with --columns prompt=...,chosen=...,rejected=..., or {_SHOW}",
    )


def lost(path: object, loss: Loss, wanted: Wanted, where: str = "") -> DataError:
    """The error for a piece of the prompt that would be lost; `where` says in which rows."""
    above, out = (option([*wanted.columns, (loss.column, role)]) for role in ("context", "ignored"))
    told = f"the column {loss.column}{where} looks like a piece of the prompt ({shorten(loss.text)})"
    return DataError(
        f"{path}: {told}, and nothing reads it", f"put it above the prompt with {above}, or leave it out with {out}"
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


def _of_sides(table: Table, rows: list[Record], wanted: Wanted) -> tuple[str, str] | None:
    """Columns that are called chosen and rejected, and hold no responses."""
    sides = [next(iter(table.find("response", (), side)), None) for side in ("chosen", "rejected")]
    odd = next((column for column in sides if column is not None and column.kind not in TEXTS), None)
    if odd is None or None in sides:
        return None
    held = next(value for value in odd.values if value is not None)
    entry = held[0] if isinstance(held, list) and held else held
    keys = f" with the keys {named(sorted(map(str, entry)))}" if isinstance(entry, dict) else ""
    what = _HOLDS.get(odd.kind, "lists of objects" if isinstance(held, list) else "objects")
    return (
        f"{odd.name} holds {what}{keys}, which is no response",
        'write the response as text, or as messages: [{"role": "user", "content": "..."}, {"role": "assistant", ...}]',
    )


def _of_two(table: Table, rows: list[Record], wanted: Wanted) -> tuple[str, str] | None:
    """Two responses and no verdict that is understood; or more of them."""
    two = two_responses(table)
    if two is None:
        groups = [[column.name for column in group.values()] for group in table.keyed("response").values()]
        many = max(groups, key=len, default=[])
        if len(many) < 3:
            return None
        return (
            f"{named(sorted(many))} look like responses, and each has no score or rank of its own",
            "give each a score, in columns with the same number or letter (score_1, score_2, ...)",
        )
    said, ends = [column for column in _marks(table) if column.name not in two], numbers_of_two(table)
    what = f"{two[0]} and {two[1]} look like two responses, and no column says clearly which is better"
    for column in said:
        if _reads(table, rows, wanted, verdict=column.name):
            return what, f"if {column.name} does, say so with --columns verdict={column.name}"
        if {*map(str, column.values)} <= {"0", "1"} and _reads(table, rows, wanted, best=column.name):
            return (
                f"{what}: {column.name} holds {_values(column)}",
                f"if 0 means {two[0]} and 1 {two[1]}: --columns best={column.name};"
                f" if 1 means {two[0]}: --columns winner_{ends[0]}={column.name}",
            )
    known = [column for column in said if {"verdict", "best", "label"} & {one.role for one in column.meanings}]
    shown = "".join(f"; {column.name} holds {_values(column)}" for column in (known or said)[:1])
    where = known[0].name if known else "winner"
    return what + shown, f'write {two[0]}, {two[1]} or "tie" in each row of a column {where}'


def _of_list(table: Table, rows: list[Record], wanted: Wanted) -> tuple[str, str] | None:
    """A list of responses, and nothing that says which is the best."""
    lists = table.find("list", ("texts", "objects", "messages"))
    if not lists or table.find("response", TEXTS, "rejected"):
        return None
    what = f"{lists[0].name} is a list of responses, and nothing says clearly which is the best"
    for column in table.columns.values():
        if column.kind == "numbers" and _reads(table, rows, wanted, ranks=column.name):
            return (
                what,
                f"if 1 in {column.name} is the best: --columns ranks={column.name};"
                f" if the highest is: --columns scores={column.name}",
            )
    for column in _marks(table):
        if column.kind in NUMBERS and _reads(table, rows, wanted, best=column.name):
            return what, f"if {column.name} is its place, counted from 0 or 1: --columns best={column.name}"
    shown = "".join(f"; {column.name} holds {_values(column)}" for column in _marks(table)[:1])
    if _reads(table, rows, replace(wanted, form="ranked-list")):
        return what + shown, "if the first one always is: --format ranked-list"
    return what + shown, "add a list of scores (scores), or the place of the best one from 0 on (best_index)"


def _of_one(table: Table, rows: list[Record], wanted: Wanted) -> tuple[str, str] | None:
    """One response, and a label or a rating that is not understood."""
    if not (table.find("response", TEXTS) or table.find("conversation", ("messages", "dialogue"))):
        return None
    if wanted.good_from is not None:
        return "no column is known as a rating (numbers), which --good-from goes with", "leave out --good-from"
    if rated := rating(table):
        values = [value for value in rated.values if value is not None]
        low, high = min(values, key=float), max(values, key=float)
        return (
            f"{rated.name} rates one response a row, from {low} to {high}",
            f"say from which rating on a response is good: --good-from {high}",
        )
    marks = _marks(table)
    for column in marks:
        if _reads(table, rows, wanted, label=column.name):
            return (
                f"each row has one response; {column.name} may say whether it is good",
                f"if it does, say so with --columns label={column.name}",
            )
    for column in marks:
        if {"label", "score", "verdict"} & {one.role for one in column.meanings}:
            highest = max((str(value) for value in column.values if value is not None), key=_number)
            divided = f", or divide them with --good-from {highest}" if column.kind in NUMBERS else ""
            return (
                f"{column.name} holds {_values(column)}, which say neither good nor bad",
                f"write true or false in {column.name}{divided}",
            )
    return None


def _marks(table: Table) -> list[Column]:
    """Columns of a few short values, as verdicts and labels are; those that are called so first."""
    found = []
    for column in table.columns.values():
        held = {str(value) for value in column.values if value is not None}
        short = all(len(value) <= LONGEST_VALUE for value in held)
        if short and len(held) <= MOST_VALUES and column.kind in ("flag", "text", *NUMBERS):
            roles = {meaning.role for meaning in column.meanings}
            called = bool(roles & {"verdict", "best", "label"})
            if called or not roles & {"prompt", "response", "system", "split", "media"} or column.name in table.given:
                found.append((not called, column))
    return [column for _, column in sorted(found, key=lambda entry: entry[0])]


def _number(value: str) -> float:
    return number(value) or 0.0


def _values(column: Column) -> str:
    return ", ".join(list(dict.fromkeys(str(value) for value in column.values if value is not None))[:MOST_VALUES])


def _reads(table: Table, rows: list[Record], wanted: Wanted, **given: str) -> bool:
    """Whether more than half of the rows can be read in one way, with this said of columns (role=column)."""
    told = Table(rows, table.given | {name: Meaning(role) for role, name in given.items()})
    return any(2 * sum(_is_read(shape, row) for row in rows) > len(rows) for shape in find_shapes(told, wanted))


def _is_read(shape: Shape, row: Record) -> bool:
    """Whether there is an example in a row."""
    try:
        return bool(shape.convert(row))
    except BadRow:
        return False


def _guess(table: Table) -> dict[str, str]:
    """prompt, chosen and rejected as far as names, misspelt ones too, and then the longest texts tell."""
    systems = [column.name for column in table.find("system")]
    texts = [
        column
        for column in table.columns.values()
        if column.kind in (*TEXTS, "exchanges")
        and column.name not in systems
        and not any(meaning.role in _NO_TEXTS or len(meaning.key) == 1 for meaning in column.meanings)
    ]
    found: dict[str, str] = {}
    for role in ("prompt", "chosen", "rejected"):
        known = table.find(role, TEXTS) if role == "prompt" else table.find("response", TEXTS, role)
        near = [*known, *(column for column in texts if _says(column.name, role))]
        if left := [column for column in near if column.name not in found.values() and not _is_no_text(column)]:
            found[role] = left[0].name
    others = {column.name for role in ("input", "context", "history") for column in table.find(role)} | {
        *found.values()
    }
    rest = [column for column in texts if column.name not in others and _words(column) >= WORDS]
    rest.sort(key=lambda column: -_words(column))
    missing = [role for role in ("prompt", "chosen", "rejected") if role not in found]
    if len(rest) >= len(missing) and len(missing) < 3:
        chosen = sorted(rest[: len(missing)], key=lambda column: table.all.index(column.name))
        found |= {role: column.name for role, column in zip(missing, chosen, strict=True)}
    return {role: found[role] for role in ("prompt", "chosen", "rejected") if role in found}


def _is_no_text(column: Column) -> bool:
    """Whether a column holds paths of pictures, or single words for who won, who asked or what task it is."""
    words, roles = vocabulary(), {meaning.role for meaning in column.meanings}
    marks = bool(roles & {"verdict", "best", "label", "flag"}) or plain(column.name) in words.not_pieces
    return bool(words.parts["media"].intersection(name_parts(column.name))) or (
        marks and all(map(is_word, column.values))
    )


def _says(name: str, role: str) -> bool:
    """Whether a name sounds like the role, or has a word for it among others."""
    known = [role, *vocabulary().names.get(role, ())]
    return role in map(side_of, name_parts(name)) or bool(difflib.get_close_matches(plain(name), known, 1, ALIKE))


def _words(column: Column) -> float:
    held: list[Any] = [value for value in column.values if value is not None]
    return sum(len(str(value).split()) for value in held) / max(1, len(held))
