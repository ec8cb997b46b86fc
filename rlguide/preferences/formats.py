"""The shapes that preference data comes in. A format recognises a row by its columns and makes pairs of it.

To add a format: subclass `Format`, give it a name, a sentence, columns and the two methods, and put it in `FORMATS`.
"""

from __future__ import annotations

from rlguide.preferences.dialogues import Dialogue, TextPrefix
from rlguide.preferences.pair import HUMAN, BadRow, Pair, Turn, turns
from rlguide.preferences.row_parts import (
    ANSWERS,
    MEDIA,
    OTHER_PROMPT,
    SCORES,
    Format,
    Record,
    answer,
    assemble,
    earlier_turns,
    has_answers,
    is_conversation,
    need,
    part,
    prompt_turns,
    question,
    refuse_media,
    repeats,
    text,
)
from rlguide.preferences.scored_lists import ScoredList

__all__ = ["FORMATS", "Format"]


class Sharegpt(Format):
    name = "sharegpt"
    sentence = "conversations (list of from/value), chosen and rejected (one message each), system"
    columns = ("conversations", *ANSWERS, "system", *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("conversations"), list) and has_answers(row, (dict, str))

    def to_pairs(self, row: Record) -> list[Pair]:
        refuse_media(row)
        return [assemble(turns(need(row, "conversations")), answer(row, "chosen"), answer(row, "rejected"), row)]


class OpenaiMessages(Format):
    name = "openai"
    sentence = "messages (list of role/content that ends with the user), chosen and rejected (text or message), system"
    columns = ("messages", *ANSWERS, "system", *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("messages"), list) and "prompt" not in row and has_answers(row, (dict, str, list))

    def to_pairs(self, row: Record) -> list[Pair]:
        refuse_media(row)
        return [assemble(turns(need(row, "messages")), answer(row, "chosen"), answer(row, "rejected"), row)]


class Ultrafeedback(Format):
    name = "ultrafeedback"
    sentence = "prompt (the question), chosen and rejected (whole conversations that repeat it), scores"
    columns = ("prompt", *ANSWERS, "system", *SCORES)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("prompt"), (str, list)) and any(is_conversation(row.get(key)) for key in ANSWERS)

    def to_pairs(self, row: Record) -> list[Pair]:
        pair = part(turns(need(row, "chosen")), turns(need(row, "rejected")), row)
        if not repeats(need(row, "prompt"), pair):
            raise BadRow(OTHER_PROMPT)
        return [pair]


class TrlPrompt(Format):
    name = "trl"
    sentence = (
        "prompt (text or list of role/content), history (earlier question/answer pairs), "
        "chosen and rejected (text or list with the answer), system"
    )
    columns = ("prompt", "history", *ANSWERS, "system", *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return isinstance(row.get("prompt"), (str, list)) and has_answers(row, (str, list, dict))

    def to_pairs(self, row: Record) -> list[Pair]:
        refuse_media(row)
        messages = (*earlier_turns(row), *prompt_turns(need(row, "prompt")))
        return [assemble(messages, answer(row, "chosen"), answer(row, "rejected"), row)]


class TrlImplicitPrompt(Format):
    name = "trl-implicit"
    sentence = "chosen and rejected (whole conversations as lists of role/content that differ in the last message)"
    columns = (*ANSWERS, "system", *SCORES)

    def matches(self, row: Record) -> bool:
        return "prompt" not in row and has_answers(row, (list,)) and not isinstance(row.get("messages"), list)

    def to_pairs(self, row: Record) -> list[Pair]:
        return [part(turns(need(row, "chosen")), turns(need(row, "rejected")), row)]


class OpenaiPreference(Format):
    name = "openai-preference"
    sentence = "input (an object with messages), preferred_output and non_preferred_output (one message each)"
    columns = ("input", "preferred_output", "non_preferred_output", "system", *SCORES)

    def matches(self, row: Record) -> bool:
        return "preferred_output" in row and isinstance(row.get("input"), dict)

    def to_pairs(self, row: Record) -> list[Pair]:
        asked = need(row, "input")
        if not isinstance(asked, dict):
            raise BadRow("input is not an object with messages")
        refuse_media(asked)
        better, worse = answer(row, "preferred_output"), answer(row, "non_preferred_output")
        return [assemble(turns(asked.get("messages")), better, worse, row)]


class Alpaca(Format):
    name = "alpaca"
    sentence = "instruction, input (added below it), history (earlier question/answer pairs), chosen, rejected, system"
    columns = ("instruction", "input", "history", *ANSWERS, "system", *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        return "instruction" in row and has_answers(row, (str,))

    def to_pairs(self, row: Record) -> list[Pair]:
        refuse_media(row)
        messages = (*earlier_turns(row), question(row))
        return [assemble(messages, answer(row, "chosen"), answer(row, "rejected"), row)]


class Orca(Format):
    name = "orca"
    sentence = "system, question, chosen, rejected"
    columns = ("question", *ANSWERS, "system", *SCORES)

    def matches(self, row: Record) -> bool:
        return "question" in row and has_answers(row, (str,))

    def to_pairs(self, row: Record) -> list[Pair]:
        messages = (Turn(HUMAN, text(row, "question")),)
        return [assemble(messages, answer(row, "chosen"), answer(row, "rejected"), row)]


# The first that fits wins, so the more particular ones stand first.
FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        Sharegpt(),
        Ultrafeedback(),
        Dialogue(),
        TrlPrompt(),
        OpenaiMessages(),
        OpenaiPreference(),
        TrlImplicitPrompt(),
        Alpaca(),
        Orca(),
        ScoredList(),
        TextPrefix(),
    )
}
