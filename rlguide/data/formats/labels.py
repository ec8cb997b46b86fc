"""Single responses with a label or a rating, for KTO."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rlguide.data.example import GPT, BadRow, Example, parse_label
from rlguide.data.formats.base import Record, Shape, can_read
from rlguide.data.formats.cells import CONVERSATIONS, NUMBERS, TEXTS, conversation, number, response
from rlguide.data.formats.prompts import Asked, possible_prompts
from rlguide.data.formats.table import Column, Table


def find_labels(table: Table, good_from: float | None) -> Iterator[Shape]:
    """Ways to read rows as single responses with a label, or with a rating if it is said from which on one is good."""
    for label in _labels(table, good_from):
        for one in table.find("response", (*TEXTS, "number")):
            for asked in possible_prompts(table):
                if asked.prompt == one.name or label in (asked.prompt, one.name):
                    continue
                used = asked.used() | {"response": one.name, "label": label}
                convert = partial(_single, asked=asked, column=one.name, label=label, good_from=good_from)
                yield Shape("label", "labels", used, (one.name, label), convert)
        for asked in possible_prompts(table):
            if asked.prompt and table.columns[asked.prompt].kind in CONVERSATIONS:
                used = asked.used(prompt_as="conversation") | {"label": label}
                convert = partial(_last, asked=asked, label=label, good_from=good_from)
                note = "the last message is the response"
                yield Shape("label", "labels", used, (asked.prompt, label), convert, note)


def rating(table: Table) -> Column | None:
    """A column of ratings that need a `good_from`, for an advice."""
    return next((column for column in table.find("score", NUMBERS) if not is_label(column)), None)


def _labels(table: Table, good_from: float | None) -> list[str]:
    if good_from is not None:
        return [column.name for role in ("score", "label") for column in table.find(role, NUMBERS)]
    return [column.name for role in ("label", "score", "verdict") for column in table.find(role) if is_label(column)]


def is_label(column: Column) -> bool:
    """Whether most cells say yes or no."""
    held = [value for value in column.values if value is not None]
    return sum(can_read(parse_label, value) for value in held) > len(held) / 2


def _single(row: Record, asked: Asked, column: str, label: str, good_from: float | None) -> list[Example]:
    messages, system = asked.split(row, asked.turns(row))
    given = response(row.get(column), column)
    return [Example.labelled(messages, given, _desirable(row, label, good_from), system)]


def _last(row: Record, asked: Asked, label: str, good_from: float | None) -> list[Example]:
    messages = conversation(row.get(asked.prompt or ""))
    if not messages or messages[-1].role != GPT:
        raise BadRow("the messages do not end with the assistant")
    rest, system = asked.split(row, messages[:-1])
    return [Example.labelled(rest, messages[-1].value, _desirable(row, label, good_from), system)]


def _desirable(row: Record, label: str, good_from: float | None) -> bool:
    value = row.get(label)
    if good_from is None:
        return parse_label(value)
    found = number(value)
    if found is None:
        raise BadRow(f"{label} is not a number")
    return found >= good_from
