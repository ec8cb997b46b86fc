"""Rows to checked examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rlguide.data.checks.examples import check_labelled_row, check_pair
from rlguide.data.curate.filters import Filters
from rlguide.data.example import BadRow, Example
from rlguide.data.formats.base import Format, LabelFormat
from rlguide.data.readers.source import Row
from rlguide.data.store.row_counts import NO_PAIR, RowCounts


def import_rows(
    rows: Iterable[Row], form: Format | LabelFormat, counts: RowCounts, filters: Filters
) -> Iterator[Example]:
    """Yield what is good and wanted of the rows; all else is counted in `counts`."""
    picky = filters.look_at_rows
    convert = _checked(form)
    for row in rows:
        counts.read += 1
        try:
            if row.broken:
                raise BadRow(row.broken)
            if not isinstance(row.value, dict):
                raise BadRow("not an object")
            examples = convert(row.value)
        except BadRow as reason:
            counts.refuse(str(reason), row.position)
            continue
        if not examples:
            counts.leave_out(NO_PAIR)
        for example in examples:
            objection = filters.objection(example) if picky else None
            if objection is None:
                yield example
            else:
                counts.leave_out(objection)


def _checked(form: Format | LabelFormat) -> Callable[[dict[str, Any]], Sequence[Example]]:
    """A function from a row to its examples, each checked; it raises BadRow."""

    if isinstance(form, LabelFormat):  # asked once, not for every row
        to_labelled = form.to_labelled

        def labelled(row: dict[str, Any]) -> Sequence[Example]:
            example = to_labelled(row)
            check_labelled_row(example)
            return (example,)

        return labelled
    to_pairs = form.to_pairs

    def pairs(row: dict[str, Any]) -> Sequence[Example]:
        found = to_pairs(row)
        for pair in found:
            check_pair(pair)
        return found

    return pairs
