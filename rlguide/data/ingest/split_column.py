"""A column that says which split a row belongs to: rows marked test are held out, not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rlguide.console import warn
from rlguide.data.cells.exports import flattened
from rlguide.data.cells.values import is_empty
from rlguide.data.readers.source import Row, Source
from rlguide.data.readers.words import HELDOUT_WORDS, TRAIN_WORDS
from rlguide.data.sources.selection import FileSelection
from rlguide.data.sources.splits import NONE
from rlguide.errors import UsageError, did_you_mean

EMPTY = "(empty)"  # how rows without a value are named
MOST = 20  # values; a column with more says something else
MOST_NAMES = 10
_CHINESE = {"训练": "train", "训练集": "train", "测试": "test", "测试集": "test", "验证": "val", "验证集": "val"}


class SplitColumn(NamedTuple):
    """A column, and the values of the rows to train on and to hold out; `rows` counts all values."""

    name: str
    train: str
    heldout: str | None
    rows: Counter[str]

    def of(self, rows: Iterable[Row], value: str | None) -> Iterator[Row]:
        """The rows of one split, and those that cannot be read."""
        for row in rows:
            if row.broken or not isinstance(row.value, dict) or _value(row.value, self.name) == value:
                yield row

    def __str__(self) -> str:
        held = f", {self.rows[self.heldout]:,} of {self.heldout} are held out" if self.heldout else ""
        rest = [value for value in self.rows if value not in (self.train, self.heldout)]
        others = ", ".join(f"{self.rows[value]:,} of {value or EMPTY}" for value in rest)
        left = f"; not taken: {others}" if others else ""
        return f"the column {self.name} says the split: {self.rows[self.train]:,} rows of {self.train}{held}{left}"


def split_column(source: Source, column: str, wanted: FileSelection) -> SplitColumn | None:
    """What a column called split says; None if it is the same in all rows and nothing else is wanted.

    Raises UsageError where it is not clear which values are to be trained on, or one that is wanted is not there.
    """
    found = Counter(_value(row.value, column) for row in source.rows({column}) if isinstance(row.value, dict))
    values = list(found)
    if len(values) == 1 and _is_heldout(values[0]) and not wanted.split:
        warn(f"all rows are marked {values[0]} in the column {column}, and they are trained on")
    if len(values) > MOST or (len(values) < 2 and not wanted.split):
        return None
    train = _one(values, wanted.split, TRAIN_WORDS, "--split", column)
    if wanted.heldout_split == NONE:
        return SplitColumn(column, train, None, found)
    rest = [value for value in values if value not in (train, "")]
    # Whoever names the split to train on leaves the others out, but for a held-out one that is called so.
    sure = wanted.heldout_split is not None or not wanted.split or any(map(_is_heldout, rest))
    heldout = _one(rest, wanted.heldout_split, HELDOUT_WORDS, "--heldout-split", column) if rest and sure else None
    return SplitColumn(column, train, heldout, found)


def _one(values: list[str], wanted: str | None, words: tuple[str, ...], option: str, column: str) -> str:
    if wanted is not None:
        if wanted not in values:
            raise UsageError(
                f"the column {column} has no value {wanted}{did_you_mean(wanted, values)}",
                f"it has {', '.join(values[:MOST_NAMES])}",
            )
        return wanted
    for word in words:
        for value in values:
            if _CHINESE.get(value, value.lower()) == word:
                return value
    named = ", ".join(value or EMPTY for value in values[:MOST_NAMES]) + ", ..." * (len(values) > MOST_NAMES)
    raise UsageError(
        f"the column {column} has the values {named}, and it is not clear what they mean",
        f"choose with {option}, or read all rows alike with --columns ignored={column}",
    )


def _is_heldout(value: str) -> bool:
    return _CHINESE.get(value, value.lower()) in HELDOUT_WORDS


def _value(row: dict[str, Any], column: str) -> str:
    value = flattened(row).get(column)
    return "" if is_empty(value) else str(value).strip()
