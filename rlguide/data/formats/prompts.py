"""Responses with the prompt that they answer: which columns may hold it, and the pairs that come of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from rlguide.catalog.columns import plain
from rlguide.data.cells.asked import Asked, nothing_asked, possible_prompts
from rlguide.data.cells.table import Column, Table
from rlguide.data.cells.values import Record, accepted, conversation, is_conversation, is_empty, response
from rlguide.data.example import GPT, HUMAN, BadRow, Example, Turn, turns
from rlguide.data.formats.base import Couple, Shape, Way

OTHER_PROMPT = "the prompt is not the one in chosen and rejected"


def shapes_of(table: Table, ways: Iterable[Way]) -> Iterator[Shape]:
    """Each way to find the responses with each of the prompts that may go with it, the likeliest first."""
    for way in ways:
        for asked in _prompts_of(table, way):
            needed = way.needed if asked.prompt is None else (*way.needed, asked.prompt)
            convert = partial(pairs_of, asked=asked, couples=way.couples)
            yield Shape(way.name, asked.used() | way.used, needed, convert, way.note, way.only_if_asked)


def _prompts_of(table: Table, way: Way) -> Iterator[Asked]:
    """The prompts beside these responses; of whole conversations at last none."""
    prompts = [asked for asked in possible_prompts(table) if asked.prompt not in way.needed]
    for asked in prompts:
        if not (way.whole and _ends_with_response(table, asked.prompt or "")):
            yield asked
    if way.whole and not any(plain(asked.prompt) == "prompt" for asked in prompts):
        yield nothing_asked(table)


def _ends_with_response(table: Table, prompt: str) -> bool:
    """Whether a prompt is a conversation that holds a response already, and so is no prompt."""
    column = table.columns[prompt]
    is_talk = column.kind in ("messages", "dialogue") and prompt not in table.given_as("prompt")
    return is_talk and last_roles(column) == {GPT}


def last_roles(column: Column) -> set[str]:
    """Who speaks last in the conversations of a column; those that cannot be read are left out."""
    return {messages[-1].role for messages in accepted(conversation, column.held) if messages}


def pairs_of(row: Record, asked: Asked, couples: Callable[[Record], list[Couple]]) -> list[Example]:
    """The pairs of a row: the prompt with these responses, or whole conversations. Raises BadRow."""
    prompt: tuple[tuple[Turn, ...], str] | None = None
    given: Any = None if asked.prompt is None else row.get(asked.prompt)
    sides = type(given) is list and len(given) > 1 and isinstance(given[0], str)  # the turns of one speaker
    found = []
    for better, worse, names, scores in couples(row):
        if sides:
            better, worse = _interleaved(given, better), _interleaved(given, worse)
        whole = is_conversation(better), is_conversation(worse)
        if any(whole):
            if not all(whole) and (is_empty(better) or is_empty(worse)):
                raise BadRow(f"{names[is_empty(worse)]} is missing")
            pair = whole_pair(row, asked, conversation(better), conversation(worse), scores)
            if asked.prompt is not None and not sides and not has_prompt(given, pair):
                raise BadRow(OTHER_PROMPT)
        else:
            prompt = asked.split(row, asked.turns(row)) if prompt is None else prompt
            pair = Example.pair(prompt[0], response(better, names[0]), response(worse, names[1]), prompt[1], scores)
        found.append(pair)
    return found


def whole_pair(
    row: Record,
    asked: Asked,
    chosen: tuple[Turn, ...],
    rejected: tuple[Turn, ...],
    scores: tuple[float, float] | None = None,
) -> Example:
    """A pair of two whole conversations. Raises BadRow unless only the assistant's last message differs."""
    if len(chosen) < 2 or len(rejected) < 2:
        raise BadRow("chosen or rejected is not a complete conversation")
    messages, better, worse = chosen[:-1], chosen[-1], rejected[-1]
    if messages != rejected[:-1]:
        raise BadRow("chosen and rejected differ before their last message")
    if better.role != GPT or worse.role != GPT:
        raise BadRow("chosen or rejected does not end with the assistant")
    messages, system = asked.split(row, messages)
    return Example.pair(messages, better.value, worse.value, system, scores)


def has_prompt(prompt: object, pair: Example) -> bool:
    """Whether a prompt given apart is what the conversations ask: all of it, or its first or last message."""
    if isinstance(prompt, str):
        asked = (pair.messages[0].value, pair.messages[-1].value) if pair.messages else ()
        return prompt in asked or prompt.strip() in [value.strip() for value in asked]
    if prompt is None:
        raise BadRow("prompt is missing")
    given = turns(prompt) if isinstance(prompt, list) else conversation(prompt)
    return given == pair.messages or given == (Turn("system", pair.system), *pair.messages)


def _interleaved(asked: list[str], responses: object) -> tuple[Turn, ...]:
    """A conversation from the turns of either speaker, each a list of texts."""
    if not isinstance(responses, list) or len(responses) != len(asked):
        raise BadRow("there are not as many responses as prompts")
    if not all(isinstance(one, str) for one in (*asked, *responses)):
        raise BadRow("a turn is not text")
    return tuple(
        turn for pair in zip(asked, responses, strict=True) for turn in (Turn(HUMAN, pair[0]), Turn(GPT, pair[1]))
    )
