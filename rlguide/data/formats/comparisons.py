"""Two responses to one prompt, and a column that says which is the better one: it may be either, row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from rlguide.catalog.columns import vocabulary
from rlguide.data.cells.names import LOOSE, numbering
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import TEXTS, Record, accepted, is_empty
from rlguide.data.cells.verdicts import Verdict, reader, unclear
from rlguide.data.example import BadRow
from rlguide.data.formats.base import Couple, Used, Way
from rlguide.data.formats.pairs import two_scores

Better = Callable[[Record], int | None]  # of a row: the place of the better response, None for neither
_FLAGS = ("flag", "number", "digits", "text")  # kinds of cells that say yes or no


def find_comparisons(table: Table) -> Iterator[Way]:
    """Ways to read rows as two numbered responses with a verdict."""
    for numbered in _two_responses(table):
        ends, (one, other) = [*numbered], numbered.values()
        names = (one.name, other.name)
        found = _flags(table, ends) or _verdict(table, names, ends)
        if found is None:
            continue
        said, better = found
        marks = next((group for group in table.keyed("score").values() if {*ends} <= group.keys()), {})
        scores = {column.name: marks[end].name for end, column in numbered.items()} if marks else {}
        couples = partial(_couples, names=names, better=better, scores=scores)
        used: Used = {"response": (one.name,), "other response": (other.name,), "verdict": said}
        yield Way("comparison", used, names, couples, one.holds_talks or other.holds_talks)


def two_responses(table: Table) -> dict[str, Column] | None:
    """Two columns that look like two responses, by what numbers them; for an advice."""
    return next(_two_responses(table), None)


def _couples(row: Record, names: tuple[str, str], better: Better, scores: dict[str, str]) -> list[Couple]:
    one, other = row.get(names[0]), row.get(names[1])
    if is_empty(one) or is_empty(other):
        raise BadRow("there are no two responses")
    at = better(row)
    if at is None:
        return []
    if at == 1:
        one, other, names = other, one, (names[1], names[0])
    return [(one, other, names, two_scores([row.get(scores[name]) for name in names]) if scores else None)]


def _two_responses(table: Table) -> Iterator[dict[str, Column]]:
    """Groups of exactly two numbered responses, those with the longest texts of the likeliest name first."""
    groups = []
    for group in table.keyed("response").values():
        found = {end: column for end, column in group.items() if column.kind in TEXTS}
        ends = sorted(found, key=lambda end: numbering(end).index(end))
        if len(ends) == 2 and numbering(ends[0]) == numbering(ends[1]):
            size = sum(len(str(value)) for column in found.values() for value in column.values)
            groups.append((table.order(found[ends[0]], "response"), -size, {end: found[end] for end in ends}))
    groups.sort(key=lambda entry: entry[:2])
    # Beside response_a and response_b, model_a and model_b are names of models.
    yield from (group for order, _, group in groups if order < LOOSE or groups[0][0] >= LOOSE)


def _flags(table: Table, ends: list[str]) -> tuple[tuple[str, ...], Better] | None:
    """Yes or no for each response, as in winner_model_a and winner_model_b."""
    columns = [column for end in ends for column in table.find("flag", _FLAGS, end)[:1]]
    alone = len(columns) == 1 and columns[0].name in table.given_as("flag")  # yes for this one, no for the other
    if len(columns) < 2 and not alone:
        return None
    flags = [column.name for column in columns]
    at = next(at for at, end in enumerate(ends) if table.find("flag", _FLAGS, end))

    def better(row: Record) -> int | None:
        marks = [vocabulary().labels.get(str(row.get(flag)).strip().lower()) for flag in flags]
        if None in marks:
            raise unclear(flags[marks.index(None)])
        if alone:
            return at if marks[0] else 1 - at
        return None if marks[0] == marks[1] else marks.index(True)

    return tuple(flags), better


def _called(table: Table, ends: list[str], names: tuple[str, str]) -> list[tuple[str, str]]:
    """Other columns with the same numbers, as model_a and model_b: a verdict may name what they hold."""
    groups = [group for group in table.keyed("response").values() if {*ends} <= group.keys()]
    pairs = [(group[ends[0]].name, group[ends[1]].name) for group in groups]
    return [pair for pair in pairs if pair != names]


def _verdict(table: Table, names: tuple[str, str], ends: list[str]) -> tuple[tuple[str, ...], Better] | None:
    """The first column that says which of the two is better in most rows that have it."""
    called = _called(table, ends, names)
    for role in ("verdict", "best", "label"):
        for column in table.find(role):
            if column.name in names:
                continue
            told = [names, *(pair for pair in called if column.name not in pair)]
            read = partial(_better, told=told, read=reader(column, role, names, ends), column=column.name)
            held = [row for row in table.rows if row[column.name] is not None]
            if held and 2 * len(accepted(read, held)) > len(held):
                return (column.name,), read
    return None


def _better(row: Record, told: list[tuple[str, str]], read: Verdict, column: str) -> int | None:
    """The place of the better response: of the one that the cell repeats or names, or as `read` understands it."""
    value = row.get(column)
    if is_empty(value):
        raise unclear(column)
    for names in told if isinstance(value, str) and len(value) > 1 else ():
        cells = [row.get(name) for name in names]
        if cells.count(value) == 1:
            return cells.index(value)
    return read(value)
