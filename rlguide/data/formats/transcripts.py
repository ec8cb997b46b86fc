"""Preference data whose whole conversations are plain text: Anthropic's dialogues, and TRL's implicit prompt."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, NamedTuple

from rlguide.data.example import GPT, HUMAN, BadRow, Example, Turn
from rlguide.data.formats.base import Format, Record
from rlguide.data.formats.column_names import MEDIA, PROMPT_COLUMNS, PROMPTS, RESPONSES, SCORES, SYSTEM
from rlguide.data.formats.extract import OTHER_PROMPT, assemble, has_prompt, has_responses, part, prompt_turns, text

MARKER = re.compile(r"(?:\A\s*|\n\n)(Human|Assistant):")  # of Anthropic's HH-RLHF
LINE_MARKER = re.compile(r"(?:\A\s*|[\r\n]+)(Human|Assistant):")  # of those who write no blank lines
SPEAKERS = {"Human": HUMAN, "Assistant": GPT}
CLEAR = 0.8  # share of the rows in which a prompt must look like one; some responses begin with the same word
SENTENCE_ENDS = tuple(".?!:;…。？！：；؟۔।॥։።")
CLOSING = "\"'”’»)]}」』）】"  # may follow the end of a sentence
FEW, MOST_EQUAL = 8, 0.3  # rows with one and the same prompt that are nothing odd: so many, or this share
SHOWN = 60  # characters of a text that is quoted
OTHER_TEXTS = 2  # words: a further column with so many may be the prompt


def is_dialogue(value: Any) -> bool:
    """Whether this is a text that begins with "Human:" and has an "Assistant:" further down."""
    return isinstance(value, str) and value.lstrip().startswith("Human:") and "\nAssistant:" in value


def dialogue_turns(value: str) -> tuple[Turn, ...]:
    """The turns of a dialogue, each without the space after its marker. Raises BadRow for a text before the first.

    Markers stand after a blank line; if no "Assistant:" does, at the beginning of a line. Then a response with such a
    line of its own has more turns than it should. Its pair is refused, because the turns of chosen and rejected differ
    before the last one, or do not alternate, so no part of a response becomes a prompt.
    """
    before, *pieces = (MARKER if "\n\nAssistant:" in value else LINE_MARKER).split(value)
    if before.strip() or not pieces:
        raise BadRow("a dialogue does not begin with Human:")
    roles, values = pieces[::2], pieces[1::2]
    return tuple(Turn(SPEAKERS[role], value.removeprefix(" ")) for role, value in zip(roles, values, strict=True))


def dialogue_prompt(value: str) -> tuple[Turn, ...]:
    """A dialogue that ends with "Assistant:", the place of the response, as the turns before it."""
    found = dialogue_turns(value)
    return found[:-1] if found[-1].role == GPT and not found[-1].value.strip() else found


def any_prompt(row: Record) -> tuple[Turn, ...]:
    """What is asked, in whichever of `PROMPTS`: text, messages or a dialogue; with history and input. Raises BadRow."""
    column = next((column for column in PROMPTS if row.get(column) is not None), None)
    if column is None:
        raise BadRow("prompt is missing")
    return dialogue_prompt(row[column]) if is_dialogue(row[column]) else prompt_turns(row, column)


class Dialogue(Format):
    name = "hh"
    sentence = "chosen and rejected (dialogues as text: Human: and Assistant: begin a line), or prompt and responses"
    columns = ("prompt", *RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        if any(is_dialogue(row.get(key)) for key in RESPONSES):
            return True
        return is_dialogue(row.get("prompt")) and has_responses(row, (str,))

    def to_examples(self, row: Record) -> list[Example]:
        chosen, rejected = text(row, "chosen"), text(row, "rejected")
        prompt = text(row, "prompt", optional=True)
        if prompt and not is_dialogue(chosen):
            better, worse = chosen.removeprefix(" "), rejected.removeprefix(" ")
            return [assemble(dialogue_prompt(prompt), better, worse, row)]
        pair = part(dialogue_turns(chosen), dialogue_turns(rejected), row)
        same = (
            not prompt or has_prompt(prompt, pair) or (is_dialogue(prompt) and dialogue_prompt(prompt) == pair.messages)
        )
        if not same:
            raise BadRow(OTHER_PROMPT)
        return [pair]


class TextPrefix(Format):
    name = "trl-implicit-text"
    sentence = "chosen and rejected (text that begins with the same prompt, up to the last white space), no prompt"
    columns = (*RESPONSES, *SYSTEM, *SCORES, *MEDIA)

    def matches(self, row: Record) -> bool:
        if not has_responses(row, (str,)) or any(column in row for column in PROMPT_COLUMNS):
            return False
        others = (value for column, value in row.items() if column not in self.columns)
        # Not where another column may be the prompt: it would be lost without a word.
        return not any(isinstance(value, list | dict) or _is_sentence(value) for value in others)

    def to_examples(self, row: Record) -> list[Example]:
        prompt, chosen, rejected, _ = _cut(row)
        return [assemble((Turn(HUMAN, prompt),), chosen, rejected, row)]

    def doubt(self, rows: list[Record]) -> str:
        """Why the common beginnings in these rows may be no prompts, or "" if they look like some.

        Responses to one prompt often begin alike ("Sure, here is"). A prompt is there in nearly every row, differs
        between prompts, and ends where a line or a sentence does.
        """
        cuts = [cut for cut in map(_tried, rows) if cut is not None]
        if len(cuts) < CLEAR * len(rows):
            return f"only {len(cuts)} of {len(rows)} rows have a common beginning"
        shown = f"for example {shorten(cuts[0].prompt)}"
        counts = Counter(cut.prompt for cut in cuts)
        if max(counts.values()) > max(FEW, MOST_EQUAL * len(cuts)) or len(counts) == 1 < len(cuts):
            return f"their common beginnings are too much alike to be prompts, {shown}"
        for ends in (lambda cut: "\n" in cut.gap, lambda cut: cut.prompt.rstrip(CLOSING).endswith(SENTENCE_ENDS)):
            if sum(map(ends, cuts)) >= CLEAR * len(cuts):
                return ""
        return f"their common beginnings do not end where a line or a sentence ends, {shown}"


class _Cut(NamedTuple):
    """Two texts, cut where they part; `gap` is the white space after their common beginning."""

    prompt: str
    chosen: str
    rejected: str
    gap: str


def _cut(row: Record) -> _Cut:
    chosen, rejected = text(row, "chosen"), text(row, "rejected")
    end = _shared(chosen, rejected)
    while end and not chosen[end - 1].isspace():
        end -= 1
    prompt = chosen[:end].rstrip()
    if not prompt.strip():
        raise BadRow("chosen and rejected do not begin with the same prompt")
    return _Cut(prompt, chosen[end:].lstrip(), rejected[end:].lstrip(), chosen[len(prompt) : end])


def _tried(row: Record) -> _Cut | None:
    try:
        return _cut(row)
    except BadRow:
        return None


def shorten(value: str) -> str:
    """A text as a quotation for the screen: its first words on one line."""
    line = " ".join(value.split())
    return f'"{line}"' if len(line) <= SHOWN else f'"{line[:SHOWN]}..."'


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
