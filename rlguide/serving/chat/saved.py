"""Conversations in files (docs/chat.md): the messages of OpenAI's chat API, with the settings beside them.

    {"format": "rlguide chat 1", "model": "...", "settings": {"temperature": 0.7, "max_new_tokens": 512},
     "messages": [{"role": "system", "content": "..."}, {"role": "user", "content": "..."}, ...]}

Only `messages` has to be there, so that what other programs wrote can be read. What a file says is checked as a
whole before anything of it counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.conversation import Message, messages_of
from rlguide.errors import DataError, UsageError
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.settings import HIGHEST_TEMPERATURE, MOST_TOKENS, Settings, is_temperature, is_token_limit
from rlguide.workspace import read_json, write_json

FORMAT = "rlguide chat 1"
LARGEST = 16 << 20  # bytes; of a conversation that fills a context of a million tokens, about 5 MB
MOST_MESSAGES = 10_000
_FIX = "name a file that /save has written, or one with OpenAI's chat messages"


def document_of(conversation: Conversation, model: str) -> dict[str, Any]:
    """The conversation for JSON. `model`: what responded, for people."""
    settings = conversation.settings
    return {
        "format": FORMAT,
        "model": model,
        "settings": {"temperature": settings.temperature, "max_new_tokens": settings.max_new_tokens},
        "messages": conversation.messages,
    }


def conversation_of(document: Any, name: str, settings: Settings | None = None) -> Conversation:
    """The conversation that a document describes.

    Args:
        name: of the file, for what is wrong with it.
        settings: those that count where the document has none.

    Raises:
        DataError: it describes none, or has a value that no setting can have.
    """
    if not isinstance(document, Mapping):
        raise DataError(f"{name} holds no conversation", _FIX)
    written = document.get("format", FORMAT)
    if written != FORMAT:
        raise DataError(f"{name} is of the format {str(written)[:40]!r}, and this rlguide reads {FORMAT!r}", _FIX)
    raw = document.get("messages")
    if isinstance(raw, list) and len(raw) > MOST_MESSAGES:
        raise DataError(f"{name} has {len(raw)} messages, more than {MOST_MESSAGES}", "cut it, or split it")
    messages = messages_of(raw)
    if not messages:
        raise DataError(f"{name} has no messages, each with a role and a content that is text", _FIX)
    system = messages.pop(0)["content"] if messages[0]["role"] == "system" else None
    conversation = Conversation(whole(system) if system else None, _settings_of(document, name, settings or Settings()))
    _check_turns(messages, name, 0 if system is None else 1)
    turns: list[Message] = [{**message, "content": whole(message["content"])} for message in messages]
    if len(turns) % 2:
        conversation.unanswered = turns.pop()["content"]
    conversation.turns = turns
    return conversation


def _settings_of(document: Mapping[str, Any], name: str, otherwise: Settings) -> Settings:
    given = document.get("settings", {})
    if not isinstance(given, Mapping):
        raise DataError(f"the settings of {name} are not an object", "remove `settings` from the file")
    temperature = given.get("temperature", otherwise.temperature)
    if temperature is not None and not is_temperature(temperature):
        raise DataError(
            f"the temperature in {name} is no number from 0 to {HIGHEST_TEMPERATURE:g}", "change it, or remove it"
        )
    limit = given.get("max_new_tokens", otherwise.max_new_tokens)
    if not is_token_limit(limit):
        raise DataError(
            f"max_new_tokens in {name} is no whole number from 1 to {MOST_TOKENS}", "change it, or remove it"
        )
    return Settings(None if temperature is None else float(temperature), limit)


def _check_turns(messages: list[Message], name: str, before: int) -> None:
    """Raises DataError unless user and assistant speak in turn, the user first: templates write nothing else."""
    for at, message in enumerate(messages):
        expected = ("user", "assistant")[at % 2]
        if message["role"] != expected:
            raise DataError(
                f"message {at + before + 1} of {name} is of the role {message['role'][:40]!r}, not {expected!r}",
                "a conversation is one system message, if any, then user and assistant in turn",
            )


def load(path: Path, settings: Settings | None = None) -> Conversation:
    """The conversation in a file.

    Raises:
        DataError: there is none in it, or it is damaged, too large, or cannot be read.
    """
    try:
        size = path.stat().st_size
    except (OSError, ValueError):
        size = 0  # read_json says what is wrong
    if size > LARGEST:
        raise DataError(f"{path} has {size >> 20} MiB, more than any conversation", _FIX)
    try:
        document = read_json(path)
    except DataError as error:
        raise DataError(error.what, _FIX) from error
    return conversation_of(document, str(path), settings)


def save(path: Path, conversation: Conversation, model: str) -> bool:
    """Write the conversation into a file; whether there was one before, which it replaces.

    Raises:
        UsageError: the file is there and is not a conversation.
        RlguideError: it cannot be written.
    """
    if "\0" in str(path):
        raise UsageError("a file's name has no NUL in it", "name another file")
    is_there = os.path.isfile(path)  # noqa: PTH113  (it never raises)
    if is_there:
        try:
            load(path)
        except DataError:
            raise UsageError(
                f"{path} is there and is not a conversation", "name another file, or remove it first"
            ) from None
    write_json(path, document_of(conversation, model))
    return is_there


def whole(text: str) -> str:
    """The text with halves of surrogate pairs, which no tokenizer reads, replaced by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
