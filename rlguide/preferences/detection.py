"""Which format a file is in: told from the columns and types of its first rows, and why, for the screen."""

from __future__ import annotations

from typing import Any

from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.preferences.formats import FORMATS, Format
from rlguide.preferences.label_formats import LABEL_FORMATS, LabelFormat
from rlguide.preferences.row_parts import Record

MOST_NAMES = 6  # columns that are listed as not used


def detect_format(rows: list[Any], path: object) -> Format | LabelFormat:
    """The format that most of `rows` (the first of a file) have; one of pairs goes before one of labels.

    Raises:
        DataError: no format fits; the message names the columns.
    """
    records = _records(rows)
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


def choose_format(first: list[Any], path: object, wanted: str) -> Format | LabelFormat:
    """The format of this name, or with "auto" the one that most of the first rows of a file have.

    Raises:
        UsageError: there is no such format. DataError: none fits.
    """
    if wanted == "auto":
        return detect_format(first, path)
    known: dict[str, Format | LabelFormat] = {**FORMATS, **LABEL_FORMATS}
    if wanted not in known:
        raise UsageError(
            f"no format {wanted}{did_you_mean(wanted, list(known))}", f"choose from auto, {', '.join(known)}"
        )
    return known[wanted]


def check_fits(form: Format | LabelFormat, rows: list[Any], path: object) -> None:
    """Raises DataError if none of these first rows of a file has the format that a person named."""
    if rows and not any(form.matches(row) for row in _records(rows)):
        others = _also(form, rows)
        raise DataError(
            f"none of the first {len(rows)} rows of {path} is of the format {form.name} ({form.sentence})",
            f"leave out --format, or use --format {others[0]}" if others else "leave out --format",
        )


def _also(form: Format | LabelFormat, rows: list[Any]) -> list[str]:
    """Other formats that some of the rows have."""
    others: dict[str, Format | LabelFormat] = {**FORMATS, **LABEL_FORMATS}
    records = _records(rows)
    return [name for name, other in others.items() if name != form.name and any(map(other.matches, records))]


def explain(form: Format | LabelFormat, rows: list[Any]) -> str:
    """One sentence on why these first rows of a file are read as `form`, and what else they could be.

    For example: `format trl, by the columns prompt, chosen, rejected; 50 of the first 50 rows fit; not used: id`.
    """
    records = _records(rows)
    present = list(dict.fromkeys(column for row in records for column, value in row.items() if value is not None))
    used = [column for column in form.columns if column in present]
    unused = [str(column) for column in present if column not in form.columns]
    fits = sum(form.matches(row) for row in records)
    parts = [
        f"format {form.name}, by the columns {', '.join(used) or 'none'}",
        f"{fits} of the first {len(rows)} rows fit",
    ]
    if unused:
        parts.append(f"not used: {', '.join(unused[:MOST_NAMES])}{', ...' if len(unused) > MOST_NAMES else ''}")
    if also := _also(form, rows):
        parts.append(f"would also fit: {', '.join(also)} (--format {also[0]})")
    return "; ".join(parts)


def _records(rows: list[Any]) -> list[Record]:
    return [row for row in rows if isinstance(row, dict)]
