"""Whether a column that is not read holds a piece of the prompt.

A piece of the prompt that is dropped without a word is the worst that can happen to preference data: every pair looks
right, and the model learns responses to prompts that were never written.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.values import Record, is_empty, is_word
from rlguide.data.example import GPT, HUMAN, Example, Turn, prompt_key

ROLES = ("prompt", "input", "system", "history", "context", "conversation", "beginning")
TEXT_KEYS = ("content", "value", "text")  # of a message or a document; its other keys describe it


class Loss(NamedTuple):
    """A column whose text is in nothing that comes of its row."""

    column: str
    text: str


def is_piece(column: Any) -> bool:
    """Whether a column is called like a piece of a prompt."""
    words, name = vocabulary(), plain(column)
    return name not in words.not_pieces and any(name in words.names[role] for role in ROLES)


def find_loss(row: Record, pieces: Iterable[str], examples: list[Example]) -> Loss | None:
    """The first of these columns whose text is not in the prompts that come of the row. A response may quote it."""
    whole: bytes | None = None
    for column in pieces if examples else ():
        value = row.get(column)
        if is_empty(value) or is_word(value):
            continue
        if whole is None:
            asked = (text for one in examples for text in (one.system, *[turn.value for turn in one.messages]))
            whole = _plain(" ".join(asked))
        for text in _texts(value):
            if _plain(text) not in whole:
                return Loss(column, text)
    return None


def _texts(value: Any) -> Iterator[str]:
    """What is asked or told in a value: all texts, but of messages and objects no roles, responses and descriptions."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        role = value.get("role", value.get("from"))
        if not (isinstance(role, str) and vocabulary().speakers.get(role.lower()) == GPT):
            for key, part in value.items():
                if key in TEXT_KEYS or is_piece(key):
                    yield from _texts(part)
    elif isinstance(value, Turn):
        if value.role != GPT:
            yield value.value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)


def _plain(text: str) -> bytes:
    """The text as prompts are compared."""
    return prompt_key([Turn(HUMAN, html.unescape(text))])
