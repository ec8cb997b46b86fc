"""How the rows of a file are read: chosen from the first ones, held against every row, and said in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

from rlguide.catalog.columns import vocabulary
from rlguide.data.cells.exports import WRAPPERS, flattened, opened
from rlguide.data.cells.given import given_meanings
from rlguide.data.cells.guess import may_be_prompt
from rlguide.data.cells.implicit import doubt
from rlguide.data.cells.names import meanings, name_parts
from rlguide.data.cells.table import Table
from rlguide.data.cells.values import Record, accepted, is_empty, texts_left_out
from rlguide.data.example import Example, ExampleKind
from rlguide.data.formats.base import SHAPES, Shape, Wanted
from rlguide.data.formats.comparisons import two_responses
from rlguide.data.formats.lists import check_pairing
from rlguide.data.formats.lost import ROLES, Loss, find_loss, is_piece
from rlguide.data.formats.pairs import find_implicit
from rlguide.data.formats.refusals import lost, may_be_single, unknown
from rlguide.data.formats.shapes import find_shapes
from rlguide.errors import DataError, UsageError, did_you_mean

MOST_SAMPLE = 200  # rows that are kept to judge a column that appears late
ENOUGH = 0.9  # share of the rows that the best way can read, from which on a likelier way goes before it
AS_PAIRS = 0.5  # the same of pairs, which go before labels
MOST_NAMES = 6  # columns that are listed as not used
_TALKS = ("prompt", "conversation", "chosen", "rejected")  # what may be read as turns at once
_MATTER = (*ROLES, "media", "score")  # roles of columns that change what is read when they appear


class Reading:
    """A way to read the rows of one file. `columns` are all that it looks at: of Parquet no others are read.

    kind: what comes of the rows. name: one of `SHAPES`.
    """

    def __init__(self, shape: Shape, table: Table, rows: Sequence[Record], wanted: Wanted, path: object) -> None:
        self.shape, self.name, self.kind = shape, shape.name, shape.kind
        self._table, self._rows, self._wanted, self._path = table, list(rows), wanted, path
        used = shape.columns
        free = [name for name in table.all if name not in used and name not in table.given]
        pieces = [name for name in free if is_piece(name) and not self._is_copy(name)]
        self._pieces = tuple(name for name in pieces if name in table.columns)
        self._empty = tuple(name for name in free if name not in table.columns and _matters(name))
        self._decoders = {name: decode for name, decode in table.decoders.items() if name in used}
        self._known = {*table.all}
        talks = [name for role in _TALKS for name in shape.used.get(role, ()) if name in table.columns]
        self.conversations = [name for name in talks if table.columns[name].kind == "messages"]
        self._inner = _inner(wanted, rows)
        outer = (name.partition(".")[0] for name in self._inner)
        looked_at = (*used, *outer, *self._pieces, *self._empty, *filter(table.is_media, table.all))
        self.columns = tuple(dict.fromkeys((*looked_at, *WRAPPERS)))
        self.split = next((column.name for column in table.find("split", ("text", "digits", "number"))), None)

    def to_examples(self, row: Record) -> list[Example]:
        """The examples in a row, texts unchanged; none where no response is better than another.

        Raises:
            BadRow: with the reason why there are none. DataError: a column that appears only now is a piece of the
                prompt, or changes how all rows are to be read.
        """
        row = flattened(row)
        if self._inner:
            row = opened(row, self._inner)
        if not self._known.issuperset(row) or (
            self._empty and any(not is_empty(row.get(name)) for name in self._empty)
        ):
            self._extend(row)
        examples = self._examples(row)
        if self._pieces and (loss := find_loss(row, self._pieces, examples)):
            raise lost(self._path, loss, self._wanted, " in a later row")
        return examples

    def fits(self, row: Any) -> bool:
        """Whether a row has the columns that it takes, good or not."""
        row = flattened(row)
        return isinstance(row, dict) and self.shape.fits(opened(row, self._inner))

    def loss(self) -> Loss | None:
        """The first piece of a prompt that would be lost in the first rows."""
        losses = accepted(lambda row: find_loss(row, self._pieces, self._examples(row)), self._rows)
        return next(filter(None, losses), None)

    def good(self) -> int:
        """How many of the first rows can be read."""
        return sum(
            all(len({*one.responses}) == len(one.responses) for one in made)
            for made in accepted(self._examples, self._rows)
        )

    def explain(self, rows: Sequence[Any]) -> str:
        """One sentence on how these first rows are read: `pair: prompt, chosen, rejected; 50 of the first ...`."""
        names = {role: ", ".join(used) for role, used in self.shape.used.items()}
        said = [name if name == role else f"{role} from {name}" for role, name in names.items()]
        parts = [f"{self.name}: {', '.join(said)}", f"{sum(map(self.fits, rows))} of the first {len(rows)} rows fit"]
        if self.shape.note:
            parts.append(self.shape.note)
        unused = [f"{key} of messages" for key in self._texts_left_out()] + self.unused()
        if unused:
            parts.append(f"not used: {', '.join(unused[:MOST_NAMES])}{', ...' if len(unused) > MOST_NAMES else ''}")
        return "; ".join(parts)

    def unused(self) -> list[str]:
        """The columns that hold something and are not read."""
        known = {*self.shape.columns, *self._table.given_as("ignored"), self.split}
        left = [name for name in self._table.columns if name not in known]
        return [name or "(no name)" for name in left if not self._table.is_media(name)]

    def _examples(self, row: Record) -> list[Example]:
        if self._decoders:
            row = dict(row)
            for name, decode in self._decoders.items():
                if isinstance(row.get(name), str):
                    row[name] = decode(row[name])
        return self.shape.convert(row)

    def _texts_left_out(self) -> list[str]:
        """The keys of messages in the columns that are read whose text is not."""
        columns = [column for name, column in self._table.columns.items() if name in self.shape.columns]
        return sorted(set[str]().union(*(texts_left_out(value) for column in columns for value in column.values)))

    def _is_copy(self, name: str) -> bool:
        """Whether a column repeats what is read in each of the first rows, as UltraFeedback's messages do."""
        columns, chosen = self._table.columns, self.shape.used.get("chosen", ("",))[0]
        return chosen in columns and name in columns and columns[name].values == columns[chosen].values

    def _extend(self, row: Record) -> None:
        """Read a row with columns that no row had before: as the others, if that is possible."""
        late = [name for name in row if (name not in self._known or name in self._empty) and not is_empty(row[name])]
        self._known |= row.keys()
        if not any(map(_matters, late)):
            return
        rows = [*self._rows[-MOST_SAMPLE:], row]
        reading = choose_reading(rows, self._path, replace(self._wanted, form=self.name), late=True)
        if reading.name != self.name or reading.shape.needed != self.shape.needed:
            how = reading.explain(rows)
            raise DataError(
                f"{self._path}: the column {late[0]}, not in the first rows, changes how rows are read: {how}",
                "say what the columns hold with --columns, or split the file",
            )
        self.__dict__.update(reading.__dict__)


def choose_reading(rows: Sequence[Any], path: object, wanted: Wanted | None = None, late: bool = False) -> Reading:
    """The way to read the first rows of a file; one as pairs goes before one as labels, single responses come last.

    Raises:
        UsageError: a shape or a column that is wanted is not there. DataError: nothing fits, a piece of the prompt
        would be lost, or which text is the prompt is only guessed.
    """
    wanted = wanted or Wanted()
    check_pairing(wanted.pairing)
    if wanted.form not in ("auto", *SHAPES):
        near = did_you_mean(wanted.form, list(SHAPES))
        raise UsageError(f"no format {wanted.form}{near}", f"choose from auto, {', '.join(SHAPES)}")
    records: list[Record] = [flat for row in rows if isinstance(flat := flattened(row), dict)]
    if not records:
        kinds = {"list": "its rows are lists", "str": "its rows are texts"}
        told = kinds.get(type(rows[0]).__name__, "") if rows else ""
        raise DataError(
            f"{path} holds no objects with columns{told and f': {told}'}",
            'each row must be an object such as {"prompt": ...}',
        )
    if inner := _inner(wanted, records):
        records = [opened(row, inner) for row in records]
    table = Table(records, given_meanings(wanted.columns, records, path))
    ways = [Reading(shape, table, records, wanted, path) for shape in find_shapes(table, wanted)]
    best = {kind: _best([way for way in ways if way.kind == kind]) for kind in get_args(ExampleKind)}
    found, labels = best["pairs"] or best["responses"], best["labels"]
    if labels is not None and two_responses(table) and not labels.good():
        labels = None  # a label of two responses, which nobody can tell
    if labels is not None and (found is None or found.good() < AS_PAIRS * labels.good()):
        found = labels
    if found is not None:
        if loss := found.loss():
            raise lost(path, loss, wanted, " in a later row" if late else "")
        return found
    whole = Table(records, table.given, with_empty=True)
    for shape in find_shapes(whole, wanted) if len(table.columns) < len(whole.columns) else ():
        return Reading(shape, whole, records, wanted, path)  # the columns are there; what is wrong is told row by row
    for shape in find_implicit(table) if wanted.form in ("auto", "implicit-text") else ():
        return _guessed(Reading(shape, table, records, wanted, path), records, path, wanted)
    if may_be_single(table, wanted):
        single = choose_reading(rows, path, replace(wanted, form="response"), late)
        if all(map(_is_row_id, single.unused())):  # nothing else is there that could say how good the responses are
            return single
    raise unknown(table, path, wanted)


def _is_row_id(name: str) -> bool:
    return not vocabulary().parts["row_id"].isdisjoint(name_parts(name))


def _best(ways: list[Reading]) -> Reading | None:
    """The likeliest that reads about as many rows as any and loses nothing; else the likeliest that reads the most."""
    good = [way.good() for way in ways]
    most = max(good, default=0)
    if most == 0:
        return next((way for way in ways if any(map(way.shape.fits, way._rows))), None)
    able = [way for way, count in zip(ways, good, strict=True) if count >= ENOUGH * most]
    return next((way for way in able if way.loss() is None), able[0])


def _guessed(reading: Reading, records: list[Record], path: object, wanted: Wanted) -> Reading:
    """An implicit prompt as text, where it looks like one or a person says so; never where another column may be it."""
    chosen, rejected = reading.shape.needed
    if wanted.form == "auto":
        if may_be_prompt(reading._table, reading.shape.columns):
            raise unknown(reading._table, path, wanted)
        if why := doubt(records, chosen, rejected):
            raise DataError(
                f"{path} has {chosen} and {rejected} as text and no prompt, and {why}",
                "add the prompt as a column, or take the common beginning for it with --format implicit-text",
            )
    return reading


def _inner(wanted: Wanted, rows: Sequence[Record]) -> tuple[str, ...]:
    """The columns inside objects that a person names: `info.post`."""
    dotted = [name for name, _ in wanted.columns if "." in name]
    return tuple(name for name in dotted if any(isinstance(row.get(name.partition(".")[0]), dict) for row in rows))


def _matters(name: str) -> bool:
    return is_piece(name) or any(meaning.role in _MATTER for meaning in meanings(name))
