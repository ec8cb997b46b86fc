"""One preference pair: a conversation that ends with a question, a better answer and a worse one."""

from __future__ import annotations

from typing import Any, NamedTuple

from rlguide.preferences.checks import NO_UNICODE, fault

HUMAN = "human"
GPT = "gpt"


class BadRow(ValueError):
    """A row that cannot become a pair. `str(error)` is the reason, worded to be counted with others of its kind."""


class Turn(NamedTuple):  # a million of them are made: a tuple takes a third of the time of a frozen dataclass
    """One message: `role` is "human" or "gpt" ("system" only on the way in)."""

    role: str
    value: str


_make = tuple.__new__  # what `Turn(...)` calls, in half of its time


class Pair(NamedTuple):
    """A conversation (odd number of turns, human first and last), an optional system prompt and two answers.

    `scores` are those of the chosen and the rejected answer, where the source has both.
    """

    messages: tuple[Turn, ...]
    chosen: str
    rejected: str
    system: str = ""
    scores: tuple[float, float] | None = None


def check_messages(messages: tuple[Turn, ...]) -> None:
    """Refuse a prompt that LLaMA-Factory would drop with a warning only. Raises BadRow with the reason."""
    for index, turn in enumerate(messages):
        if turn.role != (GPT if index % 2 else HUMAN):
            raise BadRow("roles do not alternate human, assistant, human")
        if not turn.value or turn.value.isspace():
            raise BadRow("a message of the prompt is empty")
    if len(messages) % 2 == 0:
        raise BadRow("the prompt does not end with a human message" if messages else "the prompt is empty")


def check_pair(pair: Pair) -> None:
    """Refuse a pair that LLaMA-Factory would drop with a warning only, or that teaches nothing or the wrong thing.

    Raises:
        BadRow: with the reason.
    """
    check_structure(pair)
    check_texts(pair.messages, pair.system, pair.chosen, pair.rejected)


def check_texts(messages: tuple[Turn, ...], *others: str) -> None:
    """Refuse template tokens, encoding damage and absurd lengths (see `checks`). Raises BadRow with the reason."""
    reason = fault([*others, *[turn.value for turn in messages]])
    if reason:
        raise BadRow(reason)


def check_unicode(messages: tuple[Turn, ...], *others: str) -> None:
    """The part of `check_texts` without which a row cannot be written. Raises BadRow for half of a surrogate pair."""
    try:
        "".join([*others, *[turn.value for turn in messages]]).encode()
    except UnicodeEncodeError:
        raise BadRow(NO_UNICODE) from None


def check_structure(pair: Pair) -> None:
    """The part of `check_pair` that the engine does, too: what it drops is no pair. Raises BadRow with the reason."""
    check_messages(pair.messages)
    chosen, rejected = pair.chosen.strip(), pair.rejected.strip()
    if not chosen:
        raise BadRow("chosen is empty")
    if not rejected:
        raise BadRow("rejected is empty")
    if chosen == rejected:
        raise BadRow("chosen equals rejected")


def turns(messages: Any) -> tuple[Turn, ...]:
    """Messages as dictionaries (`from`/`value` or `role`/`content`) -> turns; a system turn keeps its role.

    Raises:
        BadRow: not a list, an entry has no role or text, an unknown role, tool calls, or media.
    """
    if not isinstance(messages, list):
        raise BadRow("the messages are not a list")
    found = []
    for message in messages:
        # A message with nothing but a role and a text, which nearly all are, in a fifth of the time.
        if type(message) is dict and len(message) == 2:
            role, value = message.get("role"), message.get("content")
            if type(role) is str and type(value) is str and role in ROLES:
                found.append(_make(Turn, (ROLES[role], value)))
                continue
        found.append(turn(message))
    return tuple(found)


def turn(message: Any) -> Turn:
    """One message as a dictionary -> a turn. Raises BadRow like `turns`."""
    if not isinstance(message, dict):
        raise BadRow("a message is not an object with a role and a text")
    role = message["from"] if "from" in message else message.get("role")
    value = message["value"] if "value" in message else message.get("content")
    known = ROLES.get(role) or ROLES.get(role.lower()) if isinstance(role, str) else None
    if known is None:
        tools = isinstance(role, str) and role.lower() in TOOL_ROLES
        raise BadRow(TOOLS if tools else "a message has an unknown role")
    if message.get("tool_calls"):
        raise BadRow(TOOLS)
    if isinstance(value, list):
        value = _joined(value)
    if not isinstance(value, str):
        raise BadRow("a message has no text")
    return Turn(known, value)


def _joined(parts: list[Any]) -> str:
    """The text of a message given in parts, as chat interfaces with pictures do: [{"type": "text", "text": ...}]."""
    texts: list[str] = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise BadRow("a message is not text alone (pictures or other media)")
        texts.append(text)
    return "".join(texts)


TOOLS = "uses tools, which this version does not carry"
# The names that the formats in use give to the two speakers and to the system prompt.
ROLES = {
    "human": HUMAN,
    "user": HUMAN,
    "prompter": HUMAN,
    "gpt": GPT,
    "assistant": GPT,
    "chatgpt": GPT,
    "bot": GPT,
    "model": GPT,
    "system": "system",
}
TOOL_ROLES = {"tool", "function", "function_call", "observation", "ipython"}
