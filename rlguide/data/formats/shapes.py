"""All ways to read rows: those to find and judge the responses, each with the prompts that may go with it."""

from __future__ import annotations

from collections.abc import Iterator

from rlguide.data.cells.table import Table
from rlguide.data.formats.base import Shape, Wanted
from rlguide.data.formats.comparisons import find_comparisons
from rlguide.data.formats.labels import find_labels, find_responses
from rlguide.data.formats.lists import find_lists, find_ranked
from rlguide.data.formats.pairs import find_last, find_pairs
from rlguide.data.formats.prompts import shapes_of


def find_shapes(table: Table, wanted: Wanted) -> Iterator[Shape]:
    """The shapes that a person wants, the likeliest first, but for the guess of an implicit prompt."""
    for shape in (
        *shapes_of(table, find_pairs(table)),
        *find_last(table),
        *shapes_of(table, find_comparisons(table)),
        *shapes_of(table, find_lists(table, wanted.pairing)),
        *shapes_of(table, find_ranked(table)),
        *find_labels(table, wanted.good_from),
        *find_responses(table),
    ):
        if shape.name == wanted.form or (wanted.form == "auto" and not shape.only_if_asked):
            yield shape
