"""Which format a file is in: told from the columns and types of its first rows, and why, for the screen."""

from __future__ import annotations

from typing import Any

from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import MEDIA
from rlguide.data.formats.comparisons import two_responses
from rlguide.data.formats.dropped_columns import find_loss, used
from rlguide.data.formats.table import FORMATS
from rlguide.data.formats.transcripts import TextPrefix, shorten
from rlguide.errors import DataError, UsageError, did_you_mean

MOST_NAMES = 6  # columns that are listed as not used
EMPTY: tuple[Any, ...] = (None, "", [], {})
GUESSED = "trl-implicit-text"  # used only if no other format fits a single row


def detect_format(rows: list[Any], path: object) -> Format:
    """The format that most of `rows` (the first of a file) have; one of pairs goes before one of labels.

    Raises:
        DataError: no format fits, or the one that does would lose a piece of the prompt, or is only guessed.
    """
    records = _records(rows)
    if not records:
        raise DataError(f"{path} holds no objects with columns", 'each row must be an object such as {"prompt": ...}')
    for kind in ("pairs", "labels"):
        known = [form for form in FORMATS.values() if form.kind == kind and form.name != GUESSED]
        best = max(known, key=lambda form: sum(map(form.matches, records)))  # the first of those that fit most rows
        if any(map(best.matches, records)):
            _check_nothing_lost(best, records, path)
            return best
    guess = FORMATS[GUESSED]
    assert isinstance(guess, TextPrefix)
    if any(map(guess.matches, records)):
        if doubt := guess.doubt(records):
            raise DataError(
                f"{path} has chosen and rejected as text and no prompt, and {doubt}",
                f"add the prompt as a column, or take the common beginning for it with --format {GUESSED}",
            )
        return guess
    columns = ", ".join(sorted({str(column) for row in records for column in row})) or "none"
    raise DataError(f"{path} has none of the known formats; its columns are {columns}", _advice(records))


def _check_nothing_lost(form: Format, records: list[Record], path: object) -> None:
    loss = find_loss(form, records)
    if loss is None:
        return
    if "input" in form.columns and not any(row.get("input") for row in records):
        advice = "rename it to input, which is added below the prompt, or join the two"
    else:
        advice = "join it with the prompt in one column"
    if loss.column.lower().startswith("sys"):
        advice = "rename it to system"
    raise DataError(
        f"{path}: the column {loss.column} looks like a piece of the prompt ({shorten(loss.text)}),"
        f" and the format {form.name} does not use it",
        f"{advice}; or leave it out knowingly with --format {form.name}",
    )


def _advice(records: list[Record]) -> str:
    help_text = "or see the formats in `rlguide register --help`"
    if two := two_responses(records):
        return (
            f"{two[0]} and {two[1]} look like two responses: which is the better one differs by row, so say it in a"
            f' column winner (the letter or number at the end of its name, or "tie"), {help_text}'
        )
    return f"rename the columns to prompt, chosen, rejected (or, for KTO, prompt, completion, label), {help_text}"


def choose_format(first: list[Any], path: object, wanted: str) -> Format:
    """The format of this name, or with "auto" the one that most of the first rows of a file have.

    Raises:
        UsageError: there is no such format. DataError: none fits, as `detect_format`.
    """
    if wanted == "auto":
        return detect_format(first, path)
    if wanted not in FORMATS:
        near = did_you_mean(wanted, list(FORMATS))
        raise UsageError(f"no format {wanted}{near}", f"choose from auto, {', '.join(FORMATS)}")
    return FORMATS[wanted]


def check_fits(form: Format, rows: list[Any], path: object) -> None:
    """Raises DataError if none of these first rows of a file has the format that a person named."""
    if rows and not any(form.matches(row) for row in _records(rows)):
        others = _also(form, rows)
        raise DataError(
            f"none of the first {len(rows)} rows of {path} is of the format {form.name} ({form.sentence})",
            f"leave out --format, or use --format {others[0]}" if others else "leave out --format",
        )


def _also(form: Format, rows: list[Any]) -> list[str]:
    """Other formats that some of the rows have."""
    records = _records(rows)
    return [name for name, other in FORMATS.items() if name != form.name and any(map(other.matches, records))]


def explain(form: Format, rows: list[Any]) -> str:
    """One sentence on why these first rows of a file are read as `form`, and what else they could be.

    For example: `format trl, by the columns prompt, chosen, rejected; 50 of the first 50 rows fit; not used: id`.
    """
    records = _records(rows)
    really = used(form, records)
    holding = dict.fromkeys(column for row in records for column, value in row.items() if value not in EMPTY)
    unused = [str(column) or "(no name)" for column in holding if column not in really and column not in MEDIA]
    fits = sum(form.matches(row) for row in records)
    parts = [
        f"format {form.name}, by the columns {', '.join(filter(really.__contains__, form.columns)) or 'none'}",
        f"{fits} of the first {len(rows)} rows fit",
    ]
    if form.note:
        parts.append(form.note)
    if unused:
        parts.append(f"not used: {', '.join(unused[:MOST_NAMES])}{', ...' if len(unused) > MOST_NAMES else ''}")
    if also := _also(form, rows):
        parts.append(f"would also fit: {', '.join(also)} (--format {also[0]})")
    return "; ".join(parts)


def _records(rows: list[Any]) -> list[Record]:
    return [row for row in rows if isinstance(row, dict)]
