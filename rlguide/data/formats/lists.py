"""Lists of responses to one prompt: with scores, ranks, the place of the best one, or in order, the best first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.table import Column, Table, are_twos
from rlguide.data.cells.values import NUMBERS, TEXTS, Record, is_empty, number, response
from rlguide.data.cells.verdicts import unclear
from rlguide.data.example import BadRow, parse_label
from rlguide.data.formats.base import Couple, Used, Way
from rlguide.data.formats.pairs import two_scores
from rlguide.errors import UsageError

PAIRINGS = ("best-worst", "all")
_LISTS = ("texts", "objects", "messages", "exchanges", "one text", "object", "other")
_NAMES = ("a response of the list", "a response of the list")
Responses = Callable[[Record], list[Any]]  # those of a row
Values = Callable[[Record, list[Any]], list[float | None]]  # one for each response of a row: the highest is the best
Grade = Callable[[Any], float | None]  # a cell -> the value of its response


def check_pairing(pairing: str) -> None:
    """Raises UsageError unless `pairing` is one of `PAIRINGS`.

    "best-worst" makes one pair of the best and the worst of a list, "all" one of every two. Equal scores, or equal
    texts, never make a pair. How far apart the scores must be is for a filter.
    """
    if pairing not in PAIRINGS:
        raise UsageError(f"no pairing {pairing}", f"choose one of {', '.join(PAIRINGS)}")


def find_lists(table: Table, pairing: str) -> Iterator[Way]:
    """Ways to read rows as lists of responses with what values them, those with scores first."""

    def way(used: Used, listed: Responses, values: Values, kept: bool = True) -> Way:
        """kept: whether the values are scores, to be stored with the pair."""
        needed = used.get("responses", ())[:2] or tuple(name for (name,) in used.values())
        couples = partial(_couples, listed=listed, values=values, kept=kept, pairing=pairing)
        return Way("scored-list", used, needed, couples)

    for column in [*table.find("list", _LISTS), *table.find("response", _LISTS[:4])]:
        name, listed = column.name, partial(_of_column, column=column.name)
        used: Used = {"list": (name,)}
        for role, grade in _GRADES.items():
            for other in table.find(f"{role}s", ("numbers", "object", "texts", "one text")):
                if other.name != name:
                    values = partial(_parallel, of=name, column=other.name, grade=grade)
                    yield way(used | {f"{role}s": (other.name,)}, listed, values)
        if _has_values(column):
            yield way(used, listed, _own_values)
        for role in ("best", "verdict"):
            for other in table.find(role, NUMBERS):
                first = _first_number(other, column, role)
                if first is not None:
                    place = partial(_place, column=other.name, first=first)
                    yield way(used | {"best": (other.name,)}, listed, place, kept=False)
        for other in table.find("label", ("numbers", "texts")):
            labels = partial(_parallel, of=name, column=other.name, grade=parse_label)
            yield way(used | {"label": (other.name,)}, listed, labels, kept=False)
    for said, names in _named(table):
        won = partial(_won, column=said, names=names)
        yield way({"responses": names, "verdict": (said,)}, partial(_cells, columns=names), won, kept=False)
    for role, names, marks in _numbered(table):
        columns = partial(_of_columns, columns=marks, grade=_GRADES[role])
        yield way({"responses": names, f"{role}s": marks}, partial(_cells, columns=names), columns)


def find_ranked(table: Table) -> Iterator[Way]:
    """Ways to read rows as lists in order: of a column `output`, as LLaMA-Factory once had them, or if so asked."""
    if table.find("verdict") or table.find("best"):
        return  # which says another order
    rated = tuple(column.name for column in table.find("scores", ("numbers",))[:1])
    for column in [*table.find("response", ("texts",)), *table.find("list", _LISTS)]:
        two = plain(column.name) == "output" and are_twos(column.held)
        usual = two or plain(column.name) == "rankedresponses" or column.name in table.given
        used: Used = {"list": (column.name,)} | ({"scores": rated} if rated else {})
        couples = partial(_in_order, column=column.name, rating=rated[0] if rated else "")
        note = f"the first of {column.name} is assumed to be the best one"
        yield Way("ranked-list", used, (column.name,), couples, note=note, only_if_asked=not usual)


def _couples(row: Record, listed: Responses, values: Values, kept: bool, pairing: str) -> list[Couple]:
    """Responses of which one has the higher value; none where all are as good as each other. Raises BadRow."""
    responses = listed(row)
    scored = [
        (response(entry, _NAMES[0]), value)
        for entry, value in zip(responses, values(row, responses), strict=True)
        if value is not None
    ]
    if len(scored) < 2:
        raise BadRow("fewer than two responses have a score")
    scored.sort(key=lambda entry: -entry[1])  # stable: the first of equals stays first
    worst = next(entry for entry in scored if entry[1] == scored[-1][1])
    both = [(scored[0], worst)] if pairing == "best-worst" else combinations(scored, 2)
    return [
        (one, other, _NAMES, (value, lower) if kept else None)
        for (one, value), (other, lower) in both
        if value > lower and one != other
    ]


def _in_order(row: Record, column: str, rating: str) -> list[Couple]:
    listed = row.get(column)
    if not isinstance(listed, list) or len(listed) < 2:
        raise BadRow(f"{column} is not a list of two responses or more")
    return [(listed[0], listed[-1], (column, column), two_scores(row.get(rating)) if len(listed) == 2 else None)]


def _named(table: Table) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Responses in columns that are called as their models, and the column that names the one which won."""
    texts = [column for column in table.columns.values() if column.kind in TEXTS]
    for verdict in (*table.find("verdict", ("text",)), *table.find("best", ("text",))):
        said = {plain(value) for value in verdict.held}
        names = tuple(column.name for column in texts if plain(column.name) in said and column is not verdict)
        if len(names) >= 2:
            yield verdict.name, names


def _numbered(table: Table) -> Iterator[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Numbered responses with a numbered score or rank each: which of the two it is, and the columns of both."""
    for group in table.keyed("response").values():
        texts = sorted(end for end in group if group[end].kind in TEXTS)
        for role in _GRADES:
            for marks in table.keyed(role).values():
                shared = [end for end in texts if end in marks]
                if len(shared) >= 2:
                    yield role, tuple(group[end].name for end in shared), tuple(marks[end].name for end in shared)


def _of_column(row: Record, column: str) -> list[Any]:
    listed = row.get(column)
    if isinstance(listed, dict):
        return list(listed.values())
    if not isinstance(listed, list):
        raise BadRow("the list of responses is missing")
    return listed


def _cells(row: Record, columns: tuple[str, ...]) -> list[Any]:
    return [row.get(column) for column in columns]


def _of_columns(row: Record, listed: list[Any], columns: tuple[str, ...], grade: Grade) -> list[float | None]:
    cells = zip(listed, columns, strict=True)
    return [None if is_empty(entry) else grade(row.get(column)) for entry, column in cells]


def _grade(value: Any) -> float | None:
    """A score as a number, or the overall one of an object."""
    return number(_held(value, vocabulary().score_keys) if isinstance(value, dict) else value)


def _rank(value: Any) -> float | None:
    """A rank as its negative, so that the highest is the best."""
    found = _grade(value)
    return None if found is None else -found


_GRADES: dict[str, Grade] = {"score": _grade, "rank": _rank}


def _parallel(row: Record, listed: list[Any], of: str, column: str, grade: Grade) -> list[float | None]:
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
    return [grade(value) for value in values]


def _own_values(row: Record, listed: list[Any]) -> list[float | None]:
    """Scores, or else ranks, in the objects themselves."""
    words = vocabulary()
    objects = [entry if isinstance(entry, dict) else {} for entry in listed]
    has_scores = any(_held(entry, words.score_keys) is not None for entry in objects)
    keys, grade = (words.score_keys, _grade) if has_scores else (words.rank_keys, _rank)
    return [grade(_held(entry, keys)) for entry in objects]


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


def _won(row: Record, listed: list[Any], column: str, names: tuple[str, ...]) -> list[float | None]:
    """1 for the response in the column that the verdict names, 0 for the others; none of these for a tie."""
    said = row.get(column)
    won = [plain(name) == plain(said) for name in names]
    if not any(won) and not (isinstance(said, str) and said.strip().lower() in vocabulary().ties):
        raise unclear(column)
    return [None if is_empty(entry) else float(is_best) for entry, is_best in zip(listed, won, strict=True)]


def _place(row: Record, listed: list[Any], column: str, first: int) -> list[float | None]:
    """1 for the best response, 0 for the others."""
    place = number(row.get(column))
    at = -1 if place is None or not place.is_integer() else int(place) - first
    if not 0 <= at < len(listed):
        raise unclear(column)
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
