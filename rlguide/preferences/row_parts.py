"""What the formats are made of: the base class, and functions that take one part out of a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

from rlguide.preferences.pair import GPT, HUMAN, BadRow, Pair, Turn, turn, turns

Record = dict[str, Any]
ANSWERS = ("chosen", "rejected")
MEDIA = ("tools", "images", "image", "videos", "audios")
# The names that datasets give to the scores of the two answers: UltraFeedback Binarized first.
SCORE_COLUMNS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_reward", "rejected_reward"),
    ("reward_chosen", "reward_rejected"),
)
OTHER_PROMPT = "the prompt is not the question that chosen and rejected repeat"
SCORES = tuple(column for columns in SCORE_COLUMNS for column in columns)


class Shape(ABC):
    """One shape of data, of pairs or of labelled answers."""

    name: str
    sentence: str  # which columns hold what, shown when the format is detected
    columns: tuple[str, ...]  # all that the conversion may look at; the others of a Parquet file are not read

    @abstractmethod
    def matches(self, row: Record) -> bool:
        """Whether the row has this shape. Looks at columns and types only, not at whether the row is any good."""


class Format(Shape):
    """One shape of preference data."""

    @abstractmethod
    def to_pairs(self, row: Record) -> list[Pair]:
        """The pairs in the row, one in most formats, texts unchanged. Raises BadRow with the reason for none."""


def has_answers(row: Record, kinds: tuple[type, ...]) -> bool:
    """Whether at least one of chosen and rejected is there with one of the types."""
    return any(isinstance(row.get(key), kinds) for key in ANSWERS)


def need(row: Record, column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise BadRow(f"{column} is missing")
    return value


def text(row: Record, column: str, optional: bool = False) -> str:
    value = row.get(column)
    if value is None:
        if optional:
            return ""
        raise BadRow(f"{column} is missing")
    if not isinstance(value, str):
        raise BadRow(f"{column} is not text")
    return value


def system(row: Record) -> str:
    return text(row, "system", optional=True)


def answer(row: Record, column: str) -> str:
    """The answer as text: given as text, as one message, or as a list of exactly one."""
    value = need(row, column)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if len(value) != 1:
            raise BadRow(f"{column} is not one single message")
        value = value[0]
    message = turn(value)
    if message.role != GPT:
        raise BadRow(f"{column} is not a message of the assistant")
    return message.value


def earlier_turns(row: Record) -> list[Turn]:
    """Alpaca's history of [question, answer] as turns."""
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRow("history is not a list of [question, answer]")
    earlier: list[Turn] = []
    for exchange in history:
        texts = isinstance(exchange, list | tuple) and [value for value in exchange if isinstance(value, str)]
        if not texts or len(texts) != 2 or len(exchange) != 2:
            raise BadRow("history is not a list of [question, answer]")
        earlier += [Turn(HUMAN, texts[0]), Turn(GPT, texts[1])]
    return earlier


def question(row: Record) -> Turn:
    """Alpaca's instruction and input, joined as LLaMA-Factory's converter does."""
    return Turn(HUMAN, "\n".join(filter(None, (text(row, "instruction"), text(row, "input", optional=True)))))


def split_system(messages: tuple[Turn, ...], given: str) -> tuple[tuple[Turn, ...], str]:
    """A system turn at the start becomes the system prompt, as the engine does it; else `given` is."""
    if messages and messages[0].role == "system":
        return messages[1:], messages[0].value
    return messages, given


def assemble(messages: tuple[Turn, ...], chosen: str, rejected: str, row: Record) -> Pair:
    """A pair from its parts; the system prompt and the scores are in the row."""
    messages, given_system = split_system(messages, system(row))
    return Pair(messages, chosen, rejected, given_system, scores(row))


def scores(row: Record) -> tuple[float, float] | None:
    """The scores of the chosen and the rejected answer, if both are there as finite numbers."""
    for chosen, rejected in SCORE_COLUMNS:
        if chosen in row and rejected in row:
            better, worse = number(row[chosen]), number(row[rejected])
            return None if better is None or worse is None else (better, worse)
    return None


def number(value: Any) -> float | None:
    """A score as a number, also where a CSV file has it as text; None for anything else, NaN and infinity."""
    if type(value) is not float:  # what nearly all are
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return None
    return value if math.isfinite(value) else None


def part(chosen: tuple[Turn, ...], rejected: tuple[Turn, ...], row: Record) -> Pair:
    """A pair from two whole conversations that are the same up to the last message."""
    if len(chosen) < 2 or len(rejected) < 2:
        raise BadRow("chosen or rejected is not a whole conversation")
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("chosen and rejected differ before their last message")
    if chosen[-1].role != GPT or rejected[-1].role != GPT:
        raise BadRow("chosen or rejected does not end with the assistant")
    return assemble(chosen[:-1], chosen[-1].value, rejected[-1].value, row)


def prompt_turns(prompt: Any) -> tuple[Turn, ...]:
    """A prompt given as text or as a list of messages."""
    return (Turn(HUMAN, prompt),) if isinstance(prompt, str) else turns(prompt)


def refuse_media(row: Record) -> None:
    """Tools and media would be dropped without a word: refuse the row instead."""
    if any(row.get(column) for column in MEDIA):
        raise BadRow("uses tools or media, which this version does not carry")


def is_conversation(value: Any) -> bool:
    """Whether this is a list of more than one message: with the answer, there is a question in it."""
    return isinstance(value, list) and len(value) > 1


def repeats(prompt: Any, pair: Pair) -> bool:
    """Whether a prompt given apart is what the conversations ask: all of it, or its first or last question."""
    if isinstance(prompt, str):
        asked = (pair.messages[0].value, pair.messages[-1].value) if pair.messages else ()
        return prompt in asked or prompt.strip() in [value.strip() for value in asked]
    given = turns(prompt)
    return given == pair.messages or given == (Turn("system", pair.system), *pair.messages)
