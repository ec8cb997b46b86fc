"""Lists of responses to one prompt: with scores, ranks, the place of the best one, or in order, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.example import BadRow, Example, parse_label
from rlguide.data.formats.base import AND, Record, Shape
from rlguide.data.formats.cells import NUMBERS, TEXTS, is_empty, number, response
from rlguide.data.formats.names import numbering
from rlguide.data.formats.pairs import Scores
from rlguide.data.formats.prompts import Asked, possible_prompts
from rlguide.data.formats.table import Column, Table, are_twos
from rlguide.errors import UsageError

PAIRINGS = ("best-worst", "all")
_LISTS = ("texts", "objects", "messages", "exchanges", "one text", "object", "other")
Values = Callable[[Record, list[Any]], list[float | None]]  # of the responses of a row, one each


class _Valued(NamedTuple):
    """Responses with what values them. kept: whether the values are scores, to be stored with the pair."""

    used: dict[str, str]
    needed: tuple[str, ...]
    listed: Callable[[Record], list[Any]]
    values: Values
    kept: bool


class Scored(NamedTuple):
    """A response and its score; of ranks, the negative."""

    response: str
    score: float


def check_pairing(pairing: str) -> None:
    """Raises UsageError unless `pairing` is one of `PAIRINGS`.

    "best-worst" makes one pair of the best and the worst of a list, "all" one of every two. Equal scores, or equal
    texts, never make a pair. How far apart the scores must be is for a filter.
    """
    if pairing not in PAIRINGS:
        raise UsageError(f"no pairing {pairing}", f"choose from {', '.join(PAIRINGS)}")


def find_lists(table: Table, pairing: str) -> Iterator[Shape]:
    """Ways to read rows as lists of responses, those with scores first."""
    for valued in _valued(table):
        for asked in possible_prompts(table):
            if asked.prompt not in valued.needed:
                convert, needed = partial(_pairs, asked=asked, valued=valued, pairing=pairing), valued.needed
                yield Shape("scored-list", "pairs", asked.used() | valued.used, (*needed, asked.prompt or ""), convert)


def find_ranked(table: Table) -> Iterator[Shape]:
    """Ways to read rows as lists in order: of a column `output`, as LLaMA-Factory once had them, or if so asked."""
    if table.find("verdict") or table.find("best"):
        return  # which says another order
    for column in [*table.find("response", ("texts",)), *table.find("list", _LISTS)]:
        note = f"the first of {column.name} is assumed to be the best one"
        rated = [found.name for found in table.find("scores", ("numbers",))]
        scores = Scores((), *rated[:1])
        for asked in possible_prompts(table):
            convert = partial(_in_order, asked=asked, column=column.name, scores=scores)
            used = asked.used() | {"list": column.name} | scores.used
            two = plain(column.name) == "output" and are_twos(value for value in column.values if value is not None)
            usual = two or plain(column.name) == "rankedresponses" or column.name in table.given
            yield Shape("ranked-list", "pairs", used, (column.name, asked.prompt or ""), convert, note, not usual)


def _pairs(row: Record, asked: Asked, valued: _Valued, pairing: str) -> list[Example]:
    """Pairs with their scores; none where all responses are as good as each other. Raises BadRow."""
    messages, responses = asked.turns(row), valued.listed(row)
    scored = zip(responses, valued.values(row, responses), strict=True)
    ranked = [Scored(response(entry, "a response of the list"), score) for entry, score in scored if score is not None]
    ranked.sort(key=lambda entry: -entry.score)  # stable: the first of equals stays first
    if len(ranked) < 2:
        raise BadRow("fewer than two responses have a score")
    worst = next(entry for entry in ranked if entry.score == ranked[-1].score)
    couples = [(ranked[0], worst)] if pairing == "best-worst" else combinations(ranked, 2)
    return [
        asked.assemble(row, messages, one.response, other.response)._replace(
            scores=(one.score, other.score) if valued.kept else None
        )
        for one, other in couples
        if one.score > other.score and one.response != other.response
    ]


def _in_order(row: Record, asked: Asked, column: str, scores: Scores) -> list[Example]:
    listed = row.get(column)
    if not isinstance(listed, list) or len(listed) < 2:
        raise BadRow(f"{column} is not a list of two responses or more")
    pair = asked.assemble(row, asked.turns(row), response(listed[0], column), response(listed[-1], column))
    return [pair._replace(scores=scores.of(row, pair) if len(listed) == 2 else None)]


def _valued(table: Table) -> Iterator[_Valued]:
    """Lists of responses with what values them."""
    for column in [*table.find("list", _LISTS), *table.find("response", _LISTS[:4])]:
        listed, used, need = partial(_of_column, column=column.name), {"list": column.name}, (column.name,)
        for role in ("scores", "ranks"):
            for other in table.find(role, ("numbers", "object", "texts", "one text")):
                if other.name != column.name:
                    sign = 1.0 if role == "scores" else -1.0
                    values = partial(_parallel, of=column.name, column=other.name, sign=sign)
                    yield _Valued(used | {role: other.name}, (*need, other.name), listed, values, True)
        if _has_values(column):
            yield _Valued(used, need, listed, _own_values, True)
        places = [(said, found) for said in ("best", "verdict") for found in table.find(said, NUMBERS)]
        for said, other in places:
            first = _first_number(other, column, said)
            if first is not None:
                values = partial(_place, column=other.name, first=first)
                yield _Valued(used | {"best": other.name}, (*need, other.name), listed, values, False)
        for other in table.find("label", ("numbers", "texts")):
            values = partial(_labels, column=other.name)
            yield _Valued(used | {"label": other.name}, (*need, other.name), listed, values, False)
    yield from _numbered(table)


def _numbered(table: Table) -> Iterator[_Valued]:
    """Numbered responses with a numbered score or rank each."""
    for group in table.keyed("response").values():
        ends = sorted(
            (end for end in group if group[end].kind in TEXTS), key=lambda end: (end not in numbering(end), end)
        )
        for role, sign in (("score", 1.0), ("rank", -1.0)):
            for marks in table.keyed(role).values():
                shared = [end for end in ends if end in marks]
                if len(shared) >= 2:
                    names, scores = ([of[end].name for end in shared] for of in (group, marks))
                    used = {"responses": AND.join(names), f"{role}s": AND.join(scores)}
                    values = partial(_of_columns, columns=scores, sign=sign)
                    yield _Valued(used, tuple(names[:2]), partial(_cells, columns=names), values, True)


def _of_column(row: Record, column: str) -> list[Any]:
    listed = row.get(column)
    if isinstance(listed, dict):
        return list(listed.values())
    if not isinstance(listed, list):
        raise BadRow("the list of responses is missing")
    return listed


def _cells(row: Record, columns: list[str]) -> list[Any]:
    return [row.get(column) for column in columns]


def _of_columns(row: Record, listed: list[Any], columns: list[str], sign: float) -> list[float | None]:
    cells = zip(listed, columns, strict=True)
    return _signed(sign, (None if is_empty(entry) else _grade(row.get(column)) for entry, column in cells))


def _signed(sign: float, values: Iterable[float | None]) -> list[float | None]:
    """Scores as they are, ranks as their negatives, so that the highest is the best."""
    return [None if value is None else sign * value for value in values]


def _grade(value: Any) -> float | None:
    """A score as a number, or the overall one of an object."""
    return number(_held(value, vocabulary().score_keys) if isinstance(value, dict) else value)


def _parallel(row: Record, listed: list[Any], of: str, column: str, sign: float) -> list[float | None]:
    """The values of another list, or of another object under the same names, in whatever order these stand."""
    values, responses = row.get(column), row.get(of)
    if isinstance(values, dict) and isinstance(responses, dict):
        if values.keys() != responses.keys():
            raise BadRow("there are not the same names for scores and responses")
        values = [values[name] for name in responses]
    elif isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, list) or len(values) != len(listed):
        raise BadRow("there are not as many scores as responses")
    return _signed(sign, map(number, values))


def _own_values(row: Record, listed: list[Any]) -> list[float | None]:
    """Scores, or else ranks, in the objects themselves."""
    words = vocabulary()
    objects = [entry if isinstance(entry, dict) else {} for entry in listed]
    has_scores = any(_held(entry, words.score_keys) is not None for entry in objects)
    keys, sign = (words.score_keys, 1.0) if has_scores else (words.rank_keys, -1.0)
    return _signed(sign, (number(_held(entry, keys)) for entry in objects))


def _has_values(column: Column) -> bool:
    words = vocabulary()
    return any(
        isinstance(entry, dict) and _held(entry, (*words.score_keys, *words.rank_keys)) is not None
        for value in column.values
        if isinstance(value, list)
        for entry in value
    )


def _held(entry: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((entry[key] for key in keys if not is_empty(entry.get(key))), None)


def _place(row: Record, listed: list[Any], column: str, first: int) -> list[float | None]:
    """1 for the best response, 0 for the others."""
    place = number(row.get(column))
    at = -1 if place is None or not place.is_integer() else int(place) - first
    if not 0 <= at < len(listed):
        raise BadRow(f"the column {column} does not say which response is better")
    return [float(index == at) for index in range(len(listed))]


def _first_number(best: Column, listed: Column, role: str) -> int | None:
    """Whether places begin at 0 or 1, as far as these rows tell; a verdict that may be either way is none."""
    places = {found for value in best.values if (found := number(value)) is not None}
    sizes = [len(value) for value in listed.values if isinstance(value, list)]
    if 0 in places:
        return 0 if role == "best" else None
    if sizes and max(places, default=0) >= max(sizes):
        return 1
    return 0 if (role == "best" and "ind" in plain(best.name)) or "idx" in plain(best.name) else None


def _labels(row: Record, listed: list[Any], column: str) -> list[float | None]:
    labels = row.get(column)
    if not isinstance(labels, list) or len(labels) != len(listed):
        raise BadRow("there are not as many labels as responses")
    return [float(parse_label(label)) for label in labels]
