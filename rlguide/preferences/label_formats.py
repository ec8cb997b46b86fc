"""The shapes that labelled single answers come in (for KTO), beside those of pairs in `formats`.

To add one: subclass `LabelFormat`, give it a name, a sentence and the two methods, and put it in `LABEL_FORMATS`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rlguide.errors import DataError
from rlguide.preferences.formats import (
    FORMATS,
    Format,
    Record,
    answer,
    earlier_turns,
    need,
    question,
    refuse_media,
    split_system,
    system,
)
from rlguide.preferences.labelled import Labelled, parse_label
from rlguide.preferences.pair import GPT, BadRow, Turn, turns

LABELS = ("label", "kto_tag")  # TRL's name and LLaMA-Factory's
COMPLETIONS = ("completion", "response")
CONVERSATIONS = ("messages", "conversations")


class LabelFormat(ABC):
    """One shape of labelled answers."""

    name: str
    sentence: str  # which columns hold what, shown when the format is detected

    @abstractmethod
    def matches(self, row: Record) -> bool:
        """Whether the row has this shape. Looks at columns and types only, not at whether the row is any good."""

    @abstractmethod
    def to_labelled(self, row: Record) -> Labelled:
        """The labelled answer in the row, its texts unchanged. Raises BadRow with the reason when there is none."""


class KtoMessages(LabelFormat):
    name = "kto-messages"
    sentence = "messages or conversations (the last one is the answer), label (true or false), system"

    def matches(self, row: Record) -> bool:
        return has_label(row) and any(isinstance(row.get(key), list) for key in CONVERSATIONS)

    def to_labelled(self, row: Record) -> Labelled:
        refuse_media(row)
        column = next((key for key in CONVERSATIONS if row.get(key) is not None), CONVERSATIONS[0])
        messages = turns(need(row, column))
        if not messages or messages[-1].role != GPT:
            raise BadRow("the messages do not end with the assistant")
        return labelled(row, messages[:-1], messages[-1].value)


class KtoPrompt(LabelFormat):
    name = "kto-trl"
    sentence = "prompt (text or list of role/content), completion (text or list with the answer), label, system"

    def matches(self, row: Record) -> bool:
        return has_label(row) and isinstance(row.get("prompt"), (str, list)) and completion(row) is not None

    def to_labelled(self, row: Record) -> Labelled:
        refuse_media(row)
        prompt = need(row, "prompt")
        messages = (Turn("human", prompt),) if isinstance(prompt, str) else turns(prompt)
        return labelled(row, messages, answer(row, completion(row) or COMPLETIONS[0]))


class KtoAlpaca(LabelFormat):
    name = "kto-alpaca"
    sentence = "instruction, input (added below it), history (earlier question/answer pairs), output, label, system"

    def matches(self, row: Record) -> bool:
        return has_label(row) and "instruction" in row and isinstance(row.get("output"), str)

    def to_labelled(self, row: Record) -> Labelled:
        refuse_media(row)
        return labelled(row, (*earlier_turns(row), question(row)), answer(row, "output"))


# The first that fits wins.
LABEL_FORMATS: dict[str, LabelFormat] = {known.name: known for known in (KtoMessages(), KtoPrompt(), KtoAlpaca())}


def has_label(row: Record) -> bool:
    """Whether a label is there, good or not."""
    return any(row.get(key) is not None for key in LABELS)


def completion(row: Record) -> str | None:
    """The column that holds the answer to a prompt."""
    return next((key for key in COMPLETIONS if isinstance(row.get(key), (str, list, dict))), None)


def labelled(row: Record, messages: tuple[Turn, ...], given_answer: str) -> Labelled:
    """A labelled answer from its parts."""
    rest, given_system = split_system(messages, system(row))
    label = next((row[key] for key in LABELS if row.get(key) is not None), None)
    return Labelled(rest, given_answer, parse_label(label), given_system)


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
