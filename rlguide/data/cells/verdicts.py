"""What a cell says of two responses: which is better, in one of the many ways to write it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.names import Meaning, numbering
from rlguide.data.cells.table import Column
from rlguide.data.cells.values import number
from rlguide.data.example import BadRow

Verdict = Callable[[Any], int | None]  # a cell -> the place of the better response, None for neither; raises BadRow


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """The better response, as in "Response A is much better", and both, as in "A >> B"; groups: what numbers them."""
    words = vocabulary().verdict
    noun, wins, much = ("|".join(map(re.escape, words[key])) for key in ("nouns", "wins", "much"))
    response = rf"(?:{noun})?[ _-]*"
    better = rf"\[*{response}(\w)\]*(?:[ _]*(?:is|was|{wins}))?[ _]*(?:{much})?[ _]*(?:{wins})?|第?([一二])个?"
    return re.compile(better), re.compile(rf"\[*{response}(\w)\s*([><=≻≺])[><=]*\s*{response}(\w)\]*")


def unclear(column: str) -> BadRow:
    """The error for a cell that does not say it."""
    return BadRow(f"the column {column} does not say which response is better")


def reader(column: Column, role: str, names: tuple[str, str], ends: list[str]) -> Verdict:
    """How the cells of a column are read that says which of two responses is better.

    Whether numbers begin at 0 or 1 is told from all of its cells. role: what the column is (verdict, best or label).
    names, ends: the columns of the responses, and what these are numbered by.
    """
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
            certain = role == "best" or "0" not in ends or whole == "winner"
            said = str(int(grade)) if grade.is_integer() else ""
            if said in ends and certain:
                return ends.index(said)
        elif isinstance(value, str):
            return _said(value.strip().lower(), ends, names, column.name)
        raise unclear(column.name)

    return one


def _said(value: str, ends: list[str], names: tuple[str, str], column: str) -> int | None:
    """What a text says: the end of a column's name, the name itself, A>B, a tie."""
    if value in vocabulary().ties or value.startswith("tie"):
        return None
    whole = [plain(name) for name in names]
    if plain(value) in whole:
        return whole.index(plain(value))
    better, comparison = _patterns()
    if sign := comparison.fullmatch(value):
        left, right = _place(sign[1], ends), _place(sign[3], ends)
        if {left, right} == {0, 1}:
            return None if sign[2] == "=" else left if sign[2] in ">≻" else right
    elif found := better.fullmatch(value):
        place = {"一": 0, "二": 1}.get(found[2] or "", _place(found[1] or "", ends))
        if place is not None:
            return place
    elif (place := _place(value, ends)) is not None:
        return place
    raise unclear(column)


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
        raise unclear(column)
    return None if counts[0] == counts[1] else int(counts[1] > counts[0])
