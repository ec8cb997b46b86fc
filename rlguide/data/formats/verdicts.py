"""Two responses to one prompt, and a column that says which is the better one: it may be either, row by row."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.example import BadRow, Example
from rlguide.data.formats.base import AND, Record, Shape, can_read
from rlguide.data.formats.cells import TEXTS, is_conversation, is_empty, number
from rlguide.data.formats.names import LOOSE, Meaning, numbering
from rlguide.data.formats.pairs import Scores
from rlguide.data.formats.prompts import Asked, nothing_asked, possible_prompts
from rlguide.data.formats.table import Column, Table

_FLAGS = ("flag", "number", "digits", "text")  # kinds of cells that say yes or no
UNCLEAR = "does not say which response is better"
Verdict = Callable[[Any], int | None]  # a cell -> the place of the better response, None for neither; raises BadRow
_WORD = r"(?:model|response|answer|assistant|completion|output|conversation|option|回答|回复|模型)?[ _-]*"
_BETTER = re.compile(
    rf"\[*{_WORD}(\w)\]*(?:[ _]*(?:is|was|wins|won|更好|更优|好))?"
    r"[ _]*(?:much|slightly|clearly|significantly|a bit|a lot)?[ _]*(?:better|wins|preferred)?|第?([一二])个?"
)
_SIGN = re.compile(rf"\[*{_WORD}(\w)\s*([><=≻≺])[><=]*\s*{_WORD}(\w)\]*")


def find_comparisons(table: Table) -> Iterator[Shape]:
    """Ways to read rows as two numbered responses with a verdict."""
    for numbered in _two_responses(table):
        ends, (one, other) = [*numbered], numbered.values()
        names = (one.name, other.name)
        called = _called(table, ends, names)
        found = _flags(table, ends) or _verdict(table, names, ends, called)
        if found is None:
            continue
        said, better = found
        whole = any(map(is_conversation, (*one.values, *other.values)))
        marks = next((group for group in table.keyed("score").values() if {*ends} <= group.keys()), {})
        scores = tuple(marks[end].name for end in ends) if marks else ()
        for asked in [*possible_prompts(table), *([nothing_asked(table)] if whole else [])]:
            used = asked.used() | dict(zip(("response", "other response"), names, strict=True)) | said
            convert = partial(_pair, asked=asked, names=names, better=better, scores=scores)
            yield Shape("comparison", "pairs", used, (*names, *([asked.prompt] if asked.prompt else [])), convert)


def two_responses(table: Table) -> tuple[str, str] | None:
    """Two columns that look like two responses, for an advice."""
    for numbered in _two_responses(table):
        one, other = numbered.values()
        return one.name, other.name
    return None


def numbers_of_two(table: Table) -> list[str]:
    """The letters or numbers of these two columns, as in `winner_a`."""
    return next([*numbered] for numbered in _two_responses(table))


def _pair(row: Record, asked: Asked, names: tuple[str, str], better: Any, scores: tuple[str, ...]) -> list[Example]:
    for name in names:
        if is_empty(row.get(name)):
            raise BadRow("there are no two responses")
    at = better(row)
    if at is None:
        return []
    pair = asked.pair(row, names[at], names[1 - at])
    found = Scores((scores[at], scores[1 - at])).of(row, pair) if scores else None
    return [pair if found is None else pair._replace(scores=found)]


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


def _flags(table: Table, ends: list[str]) -> tuple[dict[str, str], Callable[[Record], int | None]] | None:
    """Yes or no for each response, as in winner_model_a and winner_model_b."""
    columns = [column for end in ends for column in table.find("flag", _FLAGS, end)[:1]]
    alone = len(columns) == 1 and table.is_given(columns[0], "flag")  # yes for this one, no for the other
    if len(columns) < 2 and not alone:
        return None
    flags = [column.name for column in columns]
    at = next(at for at, end in enumerate(ends) if table.find("flag", _FLAGS, end))

    def better(row: Record) -> int | None:
        marks = [vocabulary().labels.get(str(row.get(flag)).strip().lower()) for flag in flags]
        if None in marks:
            raise BadRow(f"the column {flags[marks.index(None)]} {UNCLEAR}")
        if alone:
            return at if marks[0] else 1 - at
        return None if marks[0] == marks[1] else marks.index(True)

    return {"verdict": AND.join(flags)}, better


def _called(table: Table, ends: list[str], names: tuple[str, str]) -> list[tuple[str, str]]:
    """Other columns with the same numbers, as model_a and model_b: a verdict may name what they hold."""
    groups = [group for group in table.keyed("response").values() if {*ends} <= group.keys()]
    pairs = [(group[ends[0]].name, group[ends[1]].name) for group in groups]
    return [pair for pair in pairs if pair != names]


def _verdict(
    table: Table, names: tuple[str, str], ends: list[str], called: list[tuple[str, str]]
) -> tuple[dict[str, str], Callable[[Record], int | None]] | None:
    """The first column that says which of the two is better in most rows that have it."""
    for role in ("verdict", "best", "label"):
        for column in table.find(role):
            if column.name in names:
                continue
            told = [names, *(pair for pair in called if column.name not in pair)]
            read = partial(_better, told=told, read=_reader(column, role, names, ends), column=column.name)
            looked = [table.columns[name] for name in dict.fromkeys((*sum(told, ()), column.name))]
            cells = zip(*(one.values for one in looked), strict=True)
            rows = [dict(zip((one.name for one in looked), values, strict=True)) for values in cells]
            held = [row for row in rows if row[column.name] is not None]
            if held and sum(can_read(read, row) for row in held) > len(held) / 2:
                return {"verdict": column.name}, read
    return None


def _better(row: Record, told: list[tuple[str, str]], read: Verdict, column: str) -> int | None:
    """The place of the better response: of the one that the cell repeats or names, or as `read` understands it."""
    value = row.get(column)
    if is_empty(value):
        raise BadRow("it does not say which response is better")
    for names in told if isinstance(value, str) and len(value) > 1 else ():
        cells = [row.get(name) for name in names]
        if cells.count(value) == 1:
            return cells.index(value)
    return read(value)


def _reader(column: Column, role: str, names: tuple[str, str], ends: list[str]) -> Verdict:
    """How the cells of a column are read; whether numbers begin at 0 or 1 is told from all of them."""
    words, whole, told = vocabulary(), plain(column.name), column.meanings == (Meaning(role),)
    numbers = {found for value in column.values if (found := number(value)) is not None}
    between = role == "verdict" and {*ends} == {"1", "2"} and all(1 <= found <= 2 for found in numbers)
    signs: dict[float, int] = {}
    if role == "verdict" and whole in words.first_is_one and names[0].lower().startswith("human"):
        signs = {1: 0, 0: 1}
    elif "0" not in ends and {0, 1} == numbers and role == "best" and ("1" not in ends or told):
        signs = {0: 0, 1: 1}
    elif "0" not in ends and "1" not in ends and 2 in numbers and numbers <= {1, 2}:
        signs = {1: 0, 2: 1}

    def one(value: Any) -> int | None:
        if isinstance(value, list | dict):
            return _votes(value, one, column.name)
        grade = number(value)
        if grade is not None and not isinstance(value, bool):
            if whole in words.strengths and role == "verdict":
                return None if grade == 0 else int(grade > 0)
            if grade in signs:
                return signs[grade]
            if between and 1 <= grade <= 2:  # AlpacaEval's weighted judges: the nearer the one, the surer
                return None if grade == 1.5 else int(grade > 1.5)
            unclear = role != "best" and "0" in ends and whole not in ("winner",)
            said = str(int(grade)) if grade.is_integer() else ""
            if said in ends and not unclear:
                return ends.index(said)
        elif isinstance(value, str):
            return _said(value.strip().lower(), ends, names, column.name)
        raise BadRow(f"the column {column.name} {UNCLEAR}")

    return one


def _said(value: str, ends: list[str], names: tuple[str, str], column: str) -> int | None:
    """What a text says: the end of a column's name, the name itself, A>B, a tie."""
    if value in vocabulary().ties or value.startswith("tie"):
        return None
    whole = [plain(name) for name in names]
    if plain(value) in whole:
        return whole.index(plain(value))
    if sign := _SIGN.fullmatch(value):
        left, right = _place(sign[1], ends), _place(sign[3], ends)
        if {left, right} == {0, 1}:
            return None if sign[2] == "=" else left if sign[2] in ">≻" else right
    elif found := _BETTER.fullmatch(value):
        place = {"一": 0, "二": 1}.get(found[2] or "", _place(found[1] or "", ends))
        if place is not None:
            return place
    elif (place := _place(value, ends)) is not None:
        return place
    raise BadRow(f"the column {column} {UNCLEAR}")


def _place(word: str, ends: Sequence[str]) -> int | None:
    """Which response a letter, number or word means: its own name, or the same place of another numbering."""
    if word in ends:
        return ends.index(word)
    row = numbering(word)
    if word.isdigit() or not row or row.index(word) > 1 or {*ends} & {*row}:
        return None
    return row.index(word)


def _votes(value: Any, one: Verdict, column: str) -> int | None:
    """The majority of several annotators; None for a tie. Ranks in an answer of argilla are a verdict, too."""
    if isinstance(value, dict):
        if "value" in value:
            return _votes(value["value"], one, column) if isinstance(value["value"], list) else one(value["value"])
        value = list(value.values())
    ranks = [entry.get("rank") if isinstance(entry, dict) else None for entry in value]
    if ranks and all(isinstance(rank, int) for rank in ranks):
        best = min(rank for rank in ranks if rank is not None)
        first = [entry["value"] for entry, rank in zip(value, ranks, strict=True) if rank == best]
        return one(first[0]) if len(first) == 1 else None
    counts = Counter(one(entry) for entry in value)
    if not counts:
        raise BadRow(f"the column {column} {UNCLEAR}")
    return None if counts[0] == counts[1] else int(counts[1] > counts[0])
