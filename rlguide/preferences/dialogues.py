"""Preference data whose whole conversations are plain text: Anthropic's dialogues, and TRL's implicit prompt."""

from __future__ import annotations

import re
from typing import Any

from rlguide.preferences.pair import GPT, HUMAN, BadRow, Pair, Turn
from rlguide.preferences.row_parts import (
    ANSWERS,
    OTHER_PROMPT,
    SCORES,
    Format,
    Record,
    assemble,
    has_answers,
    part,
    repeats,
    text,
)

MARKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")  # of Anthropic's HH-RLHF
SPEAKERS = {"Human": HUMAN, "Assistant": GPT}
PROMPT_COLUMNS = ("prompt", "instruction", "question", "query", "input", "messages", "conversations")
OTHER_TEXTS = 2  # words: a further column with so many may be the question


def is_dialogue(value: Any) -> bool:
    """Whether this is a text that begins with "Human:" and has an "Assistant:" further down."""
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value


def dialogue_turns(value: str) -> tuple[Turn, ...]:
    """The turns of a dialogue, each without the blank after its marker. Raises BadRow for a text before the first."""
    before, *pieces = MARKER.split(value)
    if before.strip() or not pieces:
        raise BadRow("a dialogue does not begin with Human:")
    roles, values = pieces[::2], pieces[1::2]
    return tuple(Turn(SPEAKERS[role], value.removeprefix(" ")) for role, value in zip(roles, values, strict=True))


def dialogue_prompt(value: str) -> tuple[Turn, ...]:
    """A dialogue that ends with "Assistant:", the place of the answer, as the turns before it."""
    found = dialogue_turns(value)
    return found[:-1] if found[-1].role == GPT and not found[-1].value.strip() else found


class Dialogue(Format):
    name = "hh"
    sentence = "chosen and rejected (dialogues as text, Human: and Assistant: after blank lines), or prompt and answers"
    columns = ("prompt", *ANSWERS, "system", *SCORES)

    def matches(self, row: Record) -> bool:
        if any(is_dialogue(row.get(key)) for key in ANSWERS):
            return True
        return is_dialogue(row.get("prompt")) and has_answers(row, (str,))

    def to_pairs(self, row: Record) -> list[Pair]:
        chosen, rejected = text(row, "chosen"), text(row, "rejected")
        prompt = text(row, "prompt", optional=True)
        if prompt and not is_dialogue(chosen):
            better, worse = chosen.removeprefix(" "), rejected.removeprefix(" ")
            return [assemble(dialogue_prompt(prompt), better, worse, row)]
        pair = part(dialogue_turns(chosen), dialogue_turns(rejected), row)
        if prompt and not (repeats(prompt, pair) or (is_dialogue(prompt) and dialogue_prompt(prompt) == pair.messages)):
            raise BadRow(OTHER_PROMPT)
        return [pair]


class TextPrefix(Format):
    name = "trl-implicit-text"
    sentence = "chosen and rejected (text that begins with the same prompt, up to the last shared blank), no prompt"
    columns = (*ANSWERS, "system", *SCORES)

    def matches(self, row: Record) -> bool:
        if not has_answers(row, (str,)) or any(column in row for column in PROMPT_COLUMNS):
            return False
        others = (value for column, value in row.items() if column not in self.columns)
        # Not where another column may be the prompt: it would be lost without a word.
        return not any(isinstance(value, list | dict) or _is_sentence(value) for value in others)

    def to_pairs(self, row: Record) -> list[Pair]:
        chosen, rejected = text(row, "chosen"), text(row, "rejected")
        end = _shared(chosen, rejected)
        while end and not chosen[end - 1].isspace():
            end -= 1
        prompt = chosen[:end].rstrip()
        if not prompt.strip():
            raise BadRow("chosen and rejected do not begin with the same prompt")
        return [assemble((Turn(HUMAN, prompt),), chosen[end:].lstrip(), rejected[end:].lstrip(), row)]


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and len(value.split(maxsplit=OTHER_TEXTS - 1)) >= OTHER_TEXTS


def _shared(one: str, other: str) -> int:
    """How many characters two texts share at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # a binary search compares at memory speed
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
