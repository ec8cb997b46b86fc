"""Rows with a chosen and a rejected response: beside a prompt, or as whole conversations; also as the last of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

from rlguide.catalog.columns import plain
from rlguide.data.cells.asked import Asked, nothing_asked, possible_prompts
from rlguide.data.cells.implicit import cut
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import (
    CONVERSATIONS,
    TEXTS,
    Record,
    conversation,
    is_conversation,
    is_nothing,
    number,
    response,
    text,
)
from rlguide.data.example import GPT, HUMAN, BadRow, Example, Turn
from rlguide.data.formats.base import Couple, Shape, Used, Way
from rlguide.data.formats.prompts import last_roles, pairs_of, whole_pair

SIDES = ("chosen", "rejected")
_GRADES = ("number", "digits", "text")  # kinds of cells that may be scores
Scores = Callable[[Record], tuple[float, float] | None]  # of the chosen and the rejected response


def find_pairs(table: Table) -> Iterator[Way]:
    """Ways to read rows as pairs of a chosen and a rejected response, the likeliest first."""
    for chosen, rejected in _sides(table):
        names, kinds = (chosen.name, rejected.name), [chosen.kind, rejected.kind]
        if kinds == ["texts", "texts"]:
            yield Way("pair", _used(names), names, partial(_by_place, names=names))
        elif "texts" not in kinds:
            used, scores = _scores(table, names)
            couples = partial(_couples, names=names, scores=scores)
            if begins := table.find("beginning", ("text",))[:1]:
                used |= {"beginning": (begins[0].name,)}
                couples = partial(_begun, begins=begins[0].name, couples=couples)
            yield Way("pair", _used(names) | used, names, couples, chosen.holds_talks or rejected.holds_talks)


def find_implicit(table: Table) -> Iterator[Shape]:
    """Texts that begin with the same prompt (`implicit.py`): only if nothing else may be the prompt."""
    for chosen, rejected in _sides(table):
        if {chosen.kind, rejected.kind} == {"text"}:
            names = (chosen.name, rejected.name)
            asked, (used, scores) = nothing_asked(table), _scores(table, names)
            convert = partial(pairs_of, asked=asked, couples=partial(_implicit, names=names, scores=scores))
            yield Shape("implicit-text", asked.used() | _used(names) | used, names, convert)


def find_last(table: Table) -> Iterator[Shape]:
    """ms-swift: the last message of the conversation is the chosen response, another column has the rejected one."""
    rejected = [column.name for _, column in _responses(table, "rejected") if column.kind != "texts"]
    if not rejected or _responses(table, "chosen"):
        return
    for asked in possible_prompts(table):
        column = table.columns[asked.prompt or ""]
        if column.kind in CONVERSATIONS and GPT in last_roles(column):
            used = asked.used(prompt_as="conversation") | {"rejected": (rejected[0],)}
            convert = partial(_last, asked=asked, rejected=rejected[0])
            yield Shape("pair", used, (column.name, rejected[0]), convert, "the last message is the chosen response")


def two_scores(values: Any) -> tuple[float, float] | None:
    """Two scores, None unless these are two finite numbers."""
    if not isinstance(values, list | tuple) or len(values) != 2:
        return None
    better, worse = number(values[0]), number(values[1])
    return None if better is None or worse is None else (better, worse)


def _used(names: tuple[str, str], prefix: str = "") -> Used:
    return {prefix + side: (name,) for side, name in zip(SIDES, names, strict=True)}


def _couples(row: Record, names: tuple[str, str], scores: Scores | None) -> list[Couple]:
    return [(row.get(names[0]), row.get(names[1]), names, None if scores is None else scores(row))]


def _by_place(row: Record, names: tuple[str, str]) -> list[Couple]:
    """Lists of as many responses, as in RM-Bench: those at the same place are a pair."""
    better, worse = (row.get(name) for name in names)
    if not isinstance(better, list) or not isinstance(worse, list) or len(better) != len(worse):
        raise BadRow(f"{names[0]} and {names[1]} are not lists of as many responses")
    return [(one, other, names, None) for one, other in zip(better, worse, strict=True) if one != other]


def _begun(row: Record, begins: str, couples: Callable[[Record], list[Couple]]) -> list[Couple]:
    """Responses below the steps that both begin with, as in Step-DPO, unless they have them already."""
    start = "" if is_nothing(row.get(begins)) else text(row[begins], begins)
    ((better, worse, names, scores),) = couples(row)
    one, other = response(better, names[0]), response(worse, names[1])
    if not (one.startswith(start) and other.startswith(start)):
        one, other = start + one, start + other
    return [(one, other, names, scores)]


def _implicit(row: Record, names: tuple[str, str], scores: Scores | None) -> list[Couple]:
    found = cut(row, *names)
    better, worse = ((Turn(HUMAN, found.prompt), Turn(GPT, text)) for text in (found.chosen, found.rejected))
    return [(better, worse, names, None if scores is None else scores(row))]


def _last(row: Record, asked: Asked, rejected: str) -> list[Example]:
    messages, better = asked.parted(row)
    value, whole = row.get(rejected), (*messages, Turn(GPT, better))
    worse = conversation(value) if is_conversation(value) else (*messages, Turn(GPT, response(value, rejected)))
    return [whole_pair(row, asked, whole, worse)]


def _sides(table: Table) -> Iterator[tuple[Column, Column]]:
    """Columns of chosen and rejected responses that go together; also a single response beside a rejected one."""
    found = {side: _responses(table, side) for side in SIDES}
    for base in dict.fromkeys(base for base, _ in found["chosen"]):
        for chosen in (column for its, column in found["chosen"] if its == base):
            yield from ((chosen, column) for its, column in found["rejected"] if its == base)
    if not found["chosen"] and found["rejected"]:
        for only in table.find("response", TEXTS):
            if only.name != found["rejected"][0][1].name:
                yield only, found["rejected"][0][1]
    elif found["rejected"] and not {base for base, _ in found["chosen"]} & {base for base, _ in found["rejected"]}:
        yield found["chosen"][0][1], found["rejected"][0][1]


def _responses(table: Table, side: str) -> list[tuple[str, Column]]:
    """The columns of a side, with the rest of their names. Numbers only if they are called so or a person says so."""
    found = []
    for column in table.find("response", (*TEXTS, "number", "texts"), side):
        meaning = next(m for m in column.meanings if (m.role, m.key) == ("response", side))
        if column.kind != "number" or plain(column.name) == side or column.name in table.given:
            found.append((meaning.base, column))
    return found


def _scores(table: Table, names: tuple[str, str]) -> tuple[Used, Scores | None]:
    """The scores of both responses: two columns, called alike if there are such, or one with a list of two."""
    better, worse = ([column.name for column in table.find("score", _GRADES, side)] for side in SIDES)
    if better and worse:
        both = list(product(better, worse))
        longer = len("rejected") - len("chosen")
        alike = [(one, other) for one, other in both if len(plain(one)) + longer == len(plain(other))]
        columns = (alike or both)[0]
        return _used(columns, "score_"), lambda row: two_scores((row.get(columns[0]), row.get(columns[1])))
    rated, listed = table.find("scores", ("numbers",))[:1], table.find("list", ("texts",))[:1]
    if not rated:
        return {}, None
    used: Used = {role: (found[0].name,) for role, found in (("scores", rated), ("list", listed)) if found}
    return used, partial(_rated, rating=rated[0].name, listed=listed[0].name if listed else "", names=names)


def _rated(row: Record, rating: str, listed: str, names: tuple[str, str]) -> tuple[float, float] | None:
    """The scores in a list: those of the responses in another list, or else the chosen one's first."""
    rated, responses = row.get(rating), row.get(listed)
    if isinstance(rated, list) and isinstance(responses, list):
        # In argilla/distilabel-intel-orca-dpo-pairs they stand in any order.
        pair = [_text(row.get(name), name) for name in names]
        if sorted(map(str, responses)) != sorted(pair):
            return None
        rated = rated if responses[0] == pair[0] else rated[::-1]
    return two_scores(rated)


def _text(value: Any, name: str) -> str:
    """The text of a response, also of one at the end of its conversation."""
    return conversation(value)[-1].value if is_conversation(value) else response(value, name)
