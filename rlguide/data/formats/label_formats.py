"""The shapes that labelled single responses come in (for KTO), beside those of pairs in `pair_formats`."""

from __future__ import annotations

from rlguide.data.example import GPT, BadRow, Example, Turn, parse_label, turns
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import COMPLETIONS, CONVERSATIONS, LABELS, MEDIA, SYSTEM
from rlguide.data.formats.extract import (
    alpaca_prompt,
    held,
    need,
    prompt_turns,
    refuse_media,
    response,
    split_system,
    system,
)


class KtoMessages(Format):
    name = "kto-messages"
    kind = "labels"
    sentence = "messages or conversations (the last one is the response), label (true or false), system"
    columns = (*CONVERSATIONS, *LABELS, *SYSTEM, *MEDIA)

    def matches(self, row: Record) -> bool:
        return has_label(row) and any(isinstance(row.get(key), list) for key in CONVERSATIONS)

    def to_examples(self, row: Record) -> list[Example]:
        messages = turns(need(row, held(row, CONVERSATIONS) or CONVERSATIONS[0]))
        if not messages or messages[-1].role != GPT:
            raise BadRow("the messages do not end with the assistant")
        return [labelled(row, messages[:-1], messages[-1].value)]


class KtoPrompt(Format):
    name = "kto-trl"
    kind = "labels"
    sentence = (
        "prompt (text or list of role/content), input (added below a text), history (earlier prompt/response pairs), "
        "completion (text or list with the response), label, system"
    )
    columns = ("prompt", "input", "history", *COMPLETIONS, *LABELS, *SYSTEM, *MEDIA)

    def matches(self, row: Record) -> bool:
        return has_label(row) and isinstance(row.get("prompt"), (str, list)) and completion(row) is not None

    def to_examples(self, row: Record) -> list[Example]:
        return [labelled(row, prompt_turns(row, "prompt"), response(row, completion(row) or COMPLETIONS[0]))]


class KtoAlpaca(Format):
    name = "kto-alpaca"
    kind = "labels"
    sentence = "instruction, input (added below it), history (earlier prompt/response pairs), output, label, system"
    columns = ("instruction", "input", "history", "output", *LABELS, *SYSTEM, *MEDIA)

    def matches(self, row: Record) -> bool:
        return has_label(row) and "instruction" in row and isinstance(row.get("output"), str)

    def to_examples(self, row: Record) -> list[Example]:
        return [labelled(row, alpaca_prompt(row), response(row, "output"))]


def has_label(row: Record) -> bool:
    """Whether a label is there, good or not."""
    return held(row, LABELS) is not None


def completion(row: Record) -> str | None:
    """The column that holds the response to a prompt."""
    return next((key for key in COMPLETIONS if isinstance(row.get(key), (str, list, dict))), None)


def labelled(row: Record, messages: tuple[Turn, ...], given: str) -> Example:
    """A labelled response from its parts. Raises BadRow for tools and media."""
    refuse_media(row)
    rest, given_system = split_system(messages, system(row))
    label = parse_label(row.get(held(row, LABELS) or LABELS[0]))
    return Example.labelled(rest, given, label, given_system)
