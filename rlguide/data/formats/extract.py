"""What the formats are made of: the base class, and functions that take one part out of a row."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from rlguide.data.example import GPT, HUMAN, BadRow, Example, Turn, turn, turns
from rlguide.data.formats.base import Record
from rlguide.data.formats.column_names import MEDIA, MEDIA_NAMES, RESPONSES, SCORE_COLUMNS, SYSTEM

NO_CHANCE = 20  # characters that stand in two columns of a row for a reason
OTHER_PROMPT = "the prompt is not the one in chosen and rejected"

_SYSTEM_NAMES = frozenset(SYSTEM)


def has_responses(row: Record, kinds: tuple[type, ...]) -> bool:
    """Whether at least one of chosen and rejected is there with one of the types."""
    return any(isinstance(row.get(key), kinds) for key in RESPONSES)


def held(row: Record, columns: Iterable[str]) -> str | None:
    """The first of these columns that the row has something in, None if it has none of them."""
    return next((column for column in columns if row.get(column) is not None), None)


def need(row: Record, column: str) -> Any:
    value = row.get(column)
    if value is None:
        raise BadRow(f"{column} is missing")
    return value


def text(row: Record, column: str, optional: bool = False) -> str:
    value = "" if optional and row.get(column) is None else need(row, column)
    if not isinstance(value, str):
        raise BadRow(f"{column} is not text")
    return value


def system(row: Record) -> str:
    """The system prompt of a row, under whichever of its names. Raises BadRow for two that differ."""
    if _SYSTEM_NAMES.isdisjoint(row):  # in a tenth of the time, for what nearly all rows are
        return ""
    given = [text(row, column) for column in SYSTEM if row.get(column)]
    if any(one.split() != given[0].split() for one in given):
        raise BadRow("two columns hold different system prompts (take one of them out)")
    return given[0] if given else ""


def response(row: Record, column: str) -> str:
    """The response as text: given as text, as one message, or as a list of exactly one."""
    value = need(row, column)
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        if len(value) != 1:
            texts = value and all(isinstance(entry, str) for entry in value)
            raise BadRow(f"{column} is a list of texts, not one response" if texts else f"{column} is not one message")
        value = value[0]
    if not isinstance(value, dict):
        raise BadRow(f"{column} is not text")
    message = turn(value)
    if message.role != GPT:
        raise BadRow(f"{column} is not a message of the assistant")
    return message.value


def earlier_turns(row: Record) -> list[Turn]:
    """Alpaca's history of [prompt, response] as turns."""
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRow("history is not a list of [prompt, response]")
    earlier: list[Turn] = []
    for exchange in history:
        texts = isinstance(exchange, list | tuple) and [value for value in exchange if isinstance(value, str)]
        if not texts or len(texts) != 2 or len(exchange) != 2:
            raise BadRow("history is not a list of [prompt, response]")
        earlier += [Turn(HUMAN, texts[0]), Turn(GPT, texts[1])]
    return earlier


def alpaca_prompt(row: Record) -> tuple[Turn, ...]:
    """Alpaca's history, then its instruction and input, joined as LLaMA-Factory's converter does."""
    return *earlier_turns(row), Turn(HUMAN, joined(text(row, "instruction"), text(row, "input", optional=True)))


def joined(prompt_turns: str, more: str) -> str:
    """A prompt and the text that goes with it, which stands below it."""
    return "\n".join(filter(None, (prompt_turns, more)))


def prompt_turns(row: Record, column: str) -> tuple[Turn, ...]:
    """What is asked: the history, then the prompt in this column (text or messages), then the input below a text.

    An input that the prompt already has, as a filled-in template has it, is not added again.
    """
    prompt, more = need(row, column), None if column == "input" else row.get("input")
    if isinstance(prompt, str):
        if more is not None and not (isinstance(more, str) and has_already(prompt, more.strip())):
            prompt = joined(prompt, text(row, "input"))
        messages: tuple[Turn, ...] = (Turn(HUMAN, prompt),)
    elif isinstance(prompt, list):
        messages = turns(prompt)
        if more and not any(isinstance(more, str) and more.strip() in message.value for message in messages):
            raise BadRow("input stands beside a prompt of messages (join the two, or take it out)")
    else:
        raise BadRow(f"{column} is neither text nor messages")
    return (*earlier_turns(row), *messages) if row.get("history") else messages


def has_already(prompt: str, more: str) -> bool:
    """Whether a prompt has this text in it: a short one as a line of its own, for "5" is in many by chance."""
    return f"\n{more}\n" in f"\n{prompt}\n" or (len(more) >= NO_CHANCE and more in prompt)


def split_system(messages: tuple[Turn, ...], given: str) -> tuple[tuple[Turn, ...], str]:
    """A system turn at the start becomes the system prompt; else `given` is. Raises BadRow for two that differ."""
    if messages and messages[0].role == "system":
        own = messages[0].value
        if given and own.strip() and own.split() != given.split():  # the engine would drop one without a word
            raise BadRow("the system prompt is not the system message of the conversation (take one of them out)")
        return messages[1:], own or given
    return messages, given


def assemble(messages: tuple[Turn, ...], chosen: str, rejected: str, row: Record) -> Example:
    """A pair from its parts; the system prompt and the scores are in the row. Raises BadRow for tools and media."""
    refuse_media(row)
    messages, given_system = split_system(messages, system(row))
    found = scores(row)
    if found is None and isinstance(row.get("rating"), list):
        found = rating(row["rating"], row.get("generations"), chosen, rejected)
    return Example.pair(messages, chosen, rejected, given_system, found)


def rating(rated: list[Any], responses: Any, chosen: str, rejected: str) -> tuple[float, float] | None:
    """Two scores from a list: of the chosen and the rejected response, or of the responses in another list.

    In argilla/distilabel-intel-orca-dpo-pairs the list `generations` is in random order.
    """
    if isinstance(responses, list):
        if sorted(map(str, responses)) != sorted((chosen, rejected)) or len(rated) != 2:
            return None
        rated = rated if responses[0] == chosen else rated[::-1]
    found = [number(value) for value in rated]
    if len(found) != 2 or found[0] is None or found[1] is None:
        return None
    return found[0], found[1]


def scores(row: Record) -> tuple[float, float] | None:
    """The scores of the chosen and the rejected response, if both are there as finite numbers."""
    for chosen, rejected in SCORE_COLUMNS:
        if chosen in row and rejected in row:
            better, worse = number(row[chosen]), number(row[rejected])
            return None if better is None or worse is None else (better, worse)
    return None


def number(value: Any) -> float | None:
    """A score as a number, also where a CSV file has it as text; None for anything else, NaN and infinity."""
    if type(value) is not float:  # what nearly all are
        if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
            return None
        try:
            value = float(value)
        except (ValueError, OverflowError):
            return None
    return value if math.isfinite(value) else None


def part(chosen: tuple[Turn, ...], rejected: tuple[Turn, ...], row: Record) -> Example:
    """A pair from two whole conversations that are the same up to the last message."""
    if len(chosen) < 2 or len(rejected) < 2:
        raise BadRow("chosen or rejected is not a complete conversation")
    if chosen[:-1] != rejected[:-1]:
        raise BadRow("chosen and rejected differ before their last message")
    if chosen[-1].role != GPT or rejected[-1].role != GPT:
        raise BadRow("chosen or rejected does not end with the assistant")
    return assemble(chosen[:-1], chosen[-1].value, rejected[-1].value, row)


def refuse_media(row: Record) -> None:
    """Tools and media would be dropped without a word: refuse the row instead."""
    if MEDIA_NAMES.isdisjoint(row):  # nearly always
        return
    if any(row.get(column) and not _is_empty(row[column]) for column in MEDIA):
        raise BadRow("uses tools or media, which this version does not carry")


def _is_empty(media: Any) -> bool:
    """Whether a cell says in text that there is nothing, as JSON within JSON does."""
    return isinstance(media, str) and media.strip() in ("", "[]", "{}", "null")


def is_conversation(value: Any) -> bool:
    """Whether this is a list of more than one message: with the response, there is a prompt in it."""
    return isinstance(value, list) and len(value) > 1 and not isinstance(value[0], str)


def has_prompt(prompt: Any, pair: Example) -> bool:
    """Whether a prompt given apart is what the conversations ask: all of it, or its first or last message."""
    if isinstance(prompt, str):
        prompt_turns = (pair.messages[0].value, pair.messages[-1].value) if pair.messages else ()
        return prompt in prompt_turns or prompt.strip() in [value.strip() for value in prompt_turns]
    given = turns(prompt)
    return given == pair.messages or given == (Turn("system", pair.system), *pair.messages)
