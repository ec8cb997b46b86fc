"""Single responses: with a label or a rating, for KTO; without any, for SFT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from rlguide.data.cells.asked import Asked, possible_prompts
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import CONVERSATIONS, NUMBERS, TEXTS, Record, accepted, number, response
from rlguide.data.example import BadRow, Example, Turn, parse_label
from rlguide.data.formats.base import Shape


def find_labels(table: Table, good_from: float | None) -> Iterator[Shape]:
    """Ways to read rows as single responses with a label, or with a rating if it is said from which on one is good."""
    for label in _labels(table, good_from):
        desirable = partial(_desirable, label=label, good_from=good_from)
        for one in table.find("response", (*TEXTS, "number")):
            for asked in possible_prompts(table):
                if len({one.name, label, asked.prompt}) == 3:
                    used = asked.used() | {"response": (one.name,), "label": (label,)}
                    convert = partial(_labelled, asked=asked, column=one.name, desirable=desirable)
                    yield Shape("label", used, (one.name, label), convert)
        for asked in possible_prompts(table):
            if asked.prompt and table.columns[asked.prompt].kind in CONVERSATIONS:
                used = asked.used(prompt_as="conversation") | {"label": (label,)}
                convert = partial(_labelled, asked=asked, column=None, desirable=desirable)
                yield Shape("label", used, (asked.prompt, label), convert, "the last message is the response")


def find_responses(table: Table) -> Iterator[Shape]:
    """Ways to read rows as responses to imitate, of which nothing says how good they are; only if that is asked."""
    for one in table.find("response", (*TEXTS, "number")):
        for asked in possible_prompts(table):
            if asked.prompt and one.name != asked.prompt:
                used = asked.used() | {"response": (one.name,)}
                convert = partial(_single, asked=asked, column=one.name)
                yield Shape("response", used, (asked.prompt, one.name), convert, only_if_asked=True)
    for asked in possible_prompts(table):
        if asked.prompt and table.columns[asked.prompt].kind in CONVERSATIONS:
            used = asked.used(prompt_as="conversation")
            convert = partial(_single, asked=asked, column=None)
            note = "the last message is the response"
            yield Shape("response", used, (asked.prompt,), convert, note, only_if_asked=True)


def rating(table: Table) -> Column | None:
    """A column of ratings that need a `good_from`, for an advice."""
    return next((column for column in table.find("score", NUMBERS) if not is_label(column)), None)


def is_label(column: Column) -> bool:
    """Whether most cells say yes or no."""
    return 2 * len(accepted(parse_label, column.held)) > len(column.held)


def _labels(table: Table, good_from: float | None) -> list[str]:
    if good_from is not None:
        return [column.name for role in ("score", "label") for column in table.find(role, NUMBERS)]
    return [column.name for role in ("label", "score", "verdict") for column in table.find(role) if is_label(column)]


def _labelled(row: Record, asked: Asked, column: str | None, desirable: Callable[[Record], bool]) -> list[Example]:
    """The response in a column, or the last message of the conversation, with its label."""
    messages, given, system = _answered(row, asked, column)
    return [Example.labelled(messages, given, desirable(row), system)]


def _single(row: Record, asked: Asked, column: str | None) -> list[Example]:
    return [Example.single(*_answered(row, asked, column))]


def _answered(row: Record, asked: Asked, column: str | None) -> tuple[tuple[Turn, ...], str, str]:
    """The prompt, the response in a column or the last message of the conversation, and the system prompt."""
    if column is None:
        messages, given = asked.parted(row)
    else:
        messages, given = asked.turns(row), response(row.get(column), column)
    messages, system = asked.split(row, messages)
    return messages, given, system


def _desirable(row: Record, label: str, good_from: float | None) -> bool:
    value = row.get(label)
    if good_from is None:
        return parse_label(value)
    found = number(value)
    if found is None:
        raise BadRow(f"{label} is not a number")
    return found >= good_from
