"""What to say of rows that nothing fits: what is wrong, and a line that reads them, tried before it is shown."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace

from rlguide.data.cells.guess import guess
from rlguide.data.cells.implicit import shorten
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import NUMBERS, TEXTS, accepted, number
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.comparisons import two_responses
from rlguide.data.formats.labels import find_responses, rating
from rlguide.data.formats.lost import Loss
from rlguide.data.formats.shapes import find_shapes
from rlguide.data.readers.source import named
from rlguide.errors import DataError

MOST_VALUES = 5  # different values of a column that says which response is better, or whether one is good
LONGEST_VALUE = 30  # characters of such a value
_HOLDS = {"flag": "true or false", "number": "numbers", "numbers": "lists of numbers", "texts": "lists of texts"}
_OTHERS = ("prompt", "response", "system", "split", "media")  # roles of columns that are no marks
_SHOW = "see the shapes in `rlguide register --help`"
_FOR_SFT = "; or, if all responses are good ones, take them for SFT with --format response"


def unknown(table: Table, path: object, wanted: Wanted) -> DataError:
    """The error for rows that nothing fits: what they lack, and the line with the best guess."""
    names = named(sorted(table.all)) or "none"
    if wanted.form != "auto":
        return DataError(f"{path} cannot be read as {wanted.form}; its columns are {names}", "leave out --format")
    for look in _ADVICE:
        if found := look(table, wanted):
            return DataError(f"{path}: {found[0]}", found[1])
    single = _FOR_SFT if any(shape.needed for shape in find_responses(table)) else ""
    guessed = guess(table)
    if len(guessed) >= 3:
        said = [one for one in wanted.columns if one[0] not in guessed.values()]
        said += [(name, role) for role, name in guessed.items()]
        return DataError(
            f"{path} has no columns that are known as a prompt and two responses; its columns are {names}",
            f"say which they are, for example with {option(said)}{single}",
        )
    if single:
        return DataError(
            f"{path} has no pairs and no labels: each row has one response, with nothing that says how good it is;"
            f" its columns are {names}",
            "pairs need a second, worse response (rejected), KTO a column label (true or false), or a rating" + single,
        )
    return DataError(
        f"{path} has no pairs and no labels: no column is known as a response; its columns are {names}",
        f"say what the columns hold with --columns prompt=...,chosen=...,rejected=..., or {_SHOW}",
    )


def may_be_single(table: Table, wanted: Wanted) -> bool:
    """Whether rows that nothing fits may be read as single responses: nothing in them looks like a preference."""
    if wanted.form != "auto" or any(look(table, wanted) for look in _ADVICE):
        return False
    return len(guess(table)) < 3 and any(shape.needed for shape in find_responses(table))


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


def _of_sides(table: Table, wanted: Wanted) -> tuple[str, str] | None:
    """Columns that are called chosen and rejected, and hold no responses."""
    sides = [next(iter(table.find("response", (), side)), None) for side in ("chosen", "rejected")]
    odd = next((column for column in sides if column is not None and column.kind not in TEXTS), None)
    if odd is None or None in sides:
        return None
    held = odd.held[0]
    entry = held[0] if isinstance(held, list) and held else held
    keys = f" with the keys {named(sorted(map(str, entry)))}" if isinstance(entry, dict) else ""
    what = _HOLDS.get(odd.kind, "lists of objects" if isinstance(held, list) else "objects")
    return (
        f"{odd.name} holds {what}{keys}, which is no response",
        'write the response as text, or as messages: [{"role": "user", "content": "..."}, {"role": "assistant", ...}]',
    )


def _of_two(table: Table, wanted: Wanted) -> tuple[str, str] | None:
    """Two responses and no verdict that is understood; or more of them."""
    numbered = two_responses(table)
    if numbered is None:
        groups = [[column.name for column in group.values()] for group in table.keyed("response").values()]
        many = max(groups, key=len, default=[])
        if len(many) < 3:
            return None
        return (
            f"{named(sorted(many))} look like responses, and each has no score or rank of its own",
            "give each a score, in columns with the same number or letter (score_1, score_2, ...)",
        )
    end, two = next(iter(numbered)), [column.name for column in numbered.values()]
    said = [column for column in _marks(table) if column.name not in two]
    what = f"{two[0]} and {two[1]} look like two responses, and no column says clearly which is better"
    for column in said:
        if _reads(table, wanted, verdict=column.name):
            return what, f"if {column.name} does, say so with --columns verdict={column.name}"
        if {*map(str, column.values)} <= {"0", "1"} and _reads(table, wanted, best=column.name):
            return (
                f"{what}: {_shown(column)}",
                f"if 0 means {two[0]} and 1 {two[1]}: --columns best={column.name};"
                f" if 1 means {two[0]}: --columns winner_{end}={column.name}",
            )
    known = [column for column in said if column.roles & {"verdict", "best", "label"}]
    shown = "".join(f"; {_shown(column)}" for column in (known or said)[:1])
    where = known[0].name if known else "winner"
    return what + shown, f'write {two[0]}, {two[1]} or "tie" in each row of a column {where}'


def _of_list(table: Table, wanted: Wanted) -> tuple[str, str] | None:
    """A list of responses, and nothing that says which is the best."""
    lists = table.find("list", ("texts", "objects", "messages"))
    if not lists or table.find("response", TEXTS, "rejected"):
        return None
    what = f"{lists[0].name} is a list of responses, and nothing says clearly which is the best"
    for column in table.columns.values():
        if column.kind == "numbers" and _reads(table, wanted, ranks=column.name):
            return (
                what,
                f"if 1 in {column.name} is the best: --columns ranks={column.name};"
                f" if the highest is: --columns scores={column.name}",
            )
    for column in _marks(table):
        if column.kind in NUMBERS and _reads(table, wanted, best=column.name):
            return what, f"if {column.name} is its place, counted from 0 or 1: --columns best={column.name}"
    shown = "".join(f"; {_shown(column)}" for column in _marks(table)[:1])
    if _reads(table, replace(wanted, form="ranked-list")):
        return what + shown, "if the first one always is: --format ranked-list"
    return what + shown, "add a list of scores (scores), or the place of the best one from 0 on (best_index)"


def _of_one(table: Table, wanted: Wanted) -> tuple[str, str] | None:
    """One response, and a label or a rating that is not understood."""
    if not (table.find("response", TEXTS) or table.find("conversation", ("messages", "dialogue"))):
        return None
    if wanted.good_from is not None:
        return "no column is known as a rating (numbers), which --good-from goes with", "leave out --good-from"
    if rated := rating(table):
        low, high = min(rated.held, key=float), max(rated.held, key=float)
        return (
            f"{rated.name} rates one response a row, from {low} to {high}",
            f"say from which rating on a response is good: --good-from {high}",
        )
    marks = _marks(table)
    for column in marks:
        if _reads(table, wanted, label=column.name):
            return (
                f"each row has one response; {column.name} may say whether it is good",
                f"if it does, say so with --columns label={column.name}",
            )
    for column in marks:
        if column.roles & {"label", "score", "verdict"}:
            highest = max(map(str, column.held), key=lambda value: number(value) or 0.0)
            divided = f", or divide them with --good-from {highest}" if column.kind in NUMBERS else ""
            return (
                f"{_shown(column)}, which say neither good nor bad",
                f"write true or false in {column.name}{divided}",
            )
    return None


def _marks(table: Table) -> list[Column]:
    """Columns of a few short values, as verdicts and labels are; those that are called so first."""
    found = []
    for column in table.columns.values():
        held = {*map(str, column.held)}
        short = all(len(value) <= LONGEST_VALUE for value in held)
        if short and len(held) <= MOST_VALUES and column.kind in ("flag", "text", *NUMBERS):
            called = bool(column.roles & {"verdict", "best", "label"})
            if called or column.name in table.given or column.roles.isdisjoint(_OTHERS):
                found.append((not called, column))
    return [column for _, column in sorted(found, key=lambda entry: entry[0])]


def _shown(column: Column) -> str:
    values = ", ".join(list(dict.fromkeys(map(str, column.held)))[:MOST_VALUES])
    return f"{column.name} holds {values}"


def _reads(table: Table, wanted: Wanted, **columns: str) -> bool:
    """Whether more than half of the rows can be read in one way, with this said of columns (role=column)."""
    told = table.told(**columns)
    read = (sum(map(bool, accepted(shape.convert, told.rows))) for shape in find_shapes(told, wanted))
    return any(2 * good > len(told.rows) for good in read)


_ADVICE = (_of_sides, _of_two, _of_list, _of_one)
