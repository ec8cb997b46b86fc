"""Rows to checked examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rlguide.data.checks.examples import check_example
from rlguide.data.curate.filters import Filters
from rlguide.data.example import BadRow, Example
from rlguide.data.formats.base import Format
from rlguide.data.readers.source import Row
from rlguide.data.store.row_counts import NO_PAIR, RowCounts


def import_rows(rows: Iterable[Row], form: Format, counts: RowCounts, filters: Filters) -> Iterator[Example]:
    """Yield what is good and wanted of the rows; all else is counted in `counts`."""
    picky, convert = filters.look_at_rows, form.to_examples
    for row in rows:
        counts.read += 1
        try:
            if row.broken:
                raise BadRow(row.broken)
            if not isinstance(row.value, dict):
                raise BadRow("not an object")
            examples = convert(row.value)
            for example in examples:
                check_example(example)
        except BadRow as reason:
            counts.add_invalid(str(reason), row.position)
            continue
        if not examples:
            counts.add_filtered(NO_PAIR)
        for example in examples:
            objection = filters.objection(example) if picky else None
            if objection is None:
                yield example
            else:
                counts.add_filtered(objection)
