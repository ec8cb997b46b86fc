"""Which format a file is in: told from the columns and types of its first rows."""

from __future__ import annotations

from typing import Any

from rlguide.errors import DataError
from rlguide.preferences.formats import FORMATS, Format
from rlguide.preferences.label_formats import LABEL_FORMATS, LabelFormat


def detect_format(rows: list[Any], path: object) -> Format | LabelFormat:
    """The format that most of `rows` (the first of a file) have; one of pairs goes before one of labels.

    Raises:
        DataError: no format fits; the message names the columns.
    """
    records = [row for row in rows if isinstance(row, dict)]
    if not records:
        raise DataError(f"{path} holds no objects with columns", 'each row must be an object such as {"prompt": ...}')
    kinds: list[dict[str, Format | LabelFormat]] = [{**FORMATS}, {**LABEL_FORMATS}]
    for known in kinds:
        counts = {name: sum(form.matches(row) for row in records) for name, form in known.items()}
        best = max(counts, key=lambda name: counts[name])  # the first of the highest
        if counts[best]:
            return known[best]
    columns = ", ".join(sorted({str(column) for row in records for column in row})) or "none"
    raise DataError(
        f"{path} has none of the known formats; its columns are {columns}",
        "rename the columns to prompt, chosen, rejected (or, for KTO, prompt, completion, label),"
        " or see the formats in `rlguide register --help`",
    )


def detect_pairs(rows: list[Any], path: object) -> Format:
    """`detect_format` where only pairs will do. Raises DataError for labelled answers, too."""
    form = detect_format(rows, path)
    if isinstance(form, LabelFormat):
        raise DataError(
            f"{path} holds labelled single answers, not pairs",
            "they are for KTO: take them in with `rlguide register FILE`",
        )
    return form
