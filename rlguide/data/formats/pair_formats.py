"""The shapes that preference data comes in. A format recognises a row by its columns and makes pairs of it.

To add a format: subclass `Format`, give it a name, a sentence, columns and the two methods, and put it in `FORMATS`.
"""

from __future__ import annotations

from rlguide.data.example import BadRow, Example, turns
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import MEDIA, RESPONSES, SCORES, SYSTEM
from rlguide.data.formats.extract import (
    OTHER_PROMPT,
    alpaca_prompt,
    assemble,
    has_prompt,
    has_responses,
    is_conversation,
    need,
    part,
    prompt_turns,
    refuse_media,
    response,
)


class Sharegpt(Format):
    name = "sharegpt"
    sentence = "conversations (list of from/value), chosen and rejected (one message each), system"
    columns = ("conversations", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("conversations"), list) and has_responses(row, (dict, str))

    def to_examples(self, row: Record) -> list[Example]:
        return [assemble(turns(need(row, "conversations")), response(row, "chosen"), response(row, "rejected"), row)]


class OpenaiMessages(Format):
    name = "openai"
    sentence = "messages (list of role/content that ends with the user), chosen and rejected (text or message), system"
    columns = ("messages", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        if any(is_conversation(row.get(key)) for key in RESPONSES):
            return False  # which repeat the messages
        return (
            isinstance(row.get("messages"), list)
            and row.get("prompt") is None
            and has_responses(row, (dict, str, list))
        )

    def to_examples(self, row: Record) -> list[Example]:
        return [assemble(turns(need(row, "messages")), response(row, "chosen"), response(row, "rejected"), row)]


class Ultrafeedback(Format):
    name = "ultrafeedback"
    sentence = "prompt (text or messages), chosen and rejected (whole conversations that repeat it), scores"
    columns = ("prompt", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("prompt"), (str, list)) and any(is_conversation(row.get(key)) for key in RESPONSES)

    def to_examples(self, row: Record) -> list[Example]:
        pair = part(turns(need(row, "chosen")), turns(need(row, "rejected")), row)
        if not has_prompt(need(row, "prompt"), pair):
            raise BadRow(OTHER_PROMPT)
        return [pair]


class TrlPrompt(Format):
    name = "trl"
    sentence = (
        "prompt (text or list of role/content), input (added below a text), history (earlier prompt/response pairs), "
        "chosen and rejected (text or list with the response), system"
    )
    columns = ("prompt", "input", "history", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("prompt"), (str, list)) and has_responses(row, (str, list, dict))

    def to_examples(self, row: Record) -> list[Example]:
        return [assemble(prompt_turns(row, "prompt"), response(row, "chosen"), response(row, "rejected"), row)]


class TrlImplicitPrompt(Format):
    name = "trl-implicit"
    sentence = "chosen and rejected (whole conversations as lists of role/content that differ in the last message)"
    columns = (*RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        if isinstance(row.get("messages"), list):
            return row.get("prompt") is None and any(is_conversation(row.get(key)) for key in RESPONSES)
        return row.get("prompt") is None and has_responses(row, (list,))

    def to_examples(self, row: Record) -> list[Example]:
        return [part(turns(need(row, "chosen")), turns(need(row, "rejected")), row)]


class OpenaiPreference(Format):
    name = "openai-preference"
    sentence = "input (an object with messages), preferred_output and non_preferred_output (one message each)"
    columns = ("input", "preferred_output", "non_preferred_output", *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return "preferred_output" in row and isinstance(row.get("input"), dict)

    def to_examples(self, row: Record) -> list[Example]:
        given = need(row, "input")
        if not isinstance(given, dict):
            raise BadRow("input is not an object with messages")
        refuse_media(given)
        better, worse = response(row, "preferred_output"), response(row, "non_preferred_output")
        return [assemble(turns(given.get("messages")), better, worse, row)]


class Alpaca(Format):
    name = "alpaca"
    sentence = "instruction, input (added below it), history (earlier prompt/response pairs), chosen, rejected, system"
    columns = ("instruction", "input", "history", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return "instruction" in row and has_responses(row, (str,))

    def to_examples(self, row: Record) -> list[Example]:
        return [assemble(alpaca_prompt(row), response(row, "chosen"), response(row, "rejected"), row)]


class AlpacaRanking(Format):
    name = "alpaca-ranking"
    sentence = "instruction, input (added below it), history, output (list of two texts, the better one first), system"
    note = "the first text of output is assumed to be the better one"
    columns = ("instruction", "input", "history", "output", *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        output = row.get("output")
        return "instruction" in row and isinstance(output, list) and list(map(type, output)) == [str, str]

    def to_examples(self, row: Record) -> list[Example]:
        output = need(row, "output")
        if not isinstance(output, list) or list(map(type, output)) != [str, str]:
            raise BadRow("output is not a list of two texts")
        return [assemble(alpaca_prompt(row), output[0], output[1], row)]


class Orca(Format):
    name = "orca"
    sentence = "system, question, input (added below it), history, chosen, rejected; input alone is the prompt"
    columns = ("question", "input", "history", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        alone = isinstance(row.get("input"), str) and all(row.get(key) is None for key in ("prompt", "instruction"))
        return ("question" in row or alone) and has_responses(row, (str,))

    def to_examples(self, row: Record) -> list[Example]:
        messages = prompt_turns(row, "input" if row.get("question") is None and "input" in row else "question")
        return [assemble(messages, response(row, "chosen"), response(row, "rejected"), row)]
