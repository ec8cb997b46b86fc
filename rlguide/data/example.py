"""The one record of the data: a prompt, and two responses to it, one with a label, or one that is to be imitated."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from rlguide.catalog.columns import vocabulary

ExampleKind = Literal["pairs", "labels", "responses"]
KIND_NAMES: dict[ExampleKind, str] = {
    "pairs": "pairs",
    "labels": "labelled responses",
    "responses": "single responses",
}
HUMAN = "human"
GPT = "gpt"
TOOL = "tool"


class Turn(NamedTuple):  # a million of them are made: a tuple takes a third of the time of a frozen dataclass
    """One message: `role` is "human" or "gpt" ("system" only until the prompt is split)."""

    role: str
    value: str


class Example(NamedTuple):
    """A prompt and the responses to it: two of a pair, the chosen one first, or a single one, with a label or without.

    messages: the prompt, an odd number of turns, human first and last. scores: one for each response, where the source
    has them. label: whether a single response is desirable; None for a pair, and for a response that SFT imitates.
    """

    messages: tuple[Turn, ...]
    responses: tuple[str, ...]
    system: str = ""
    scores: tuple[float, ...] | None = None
    label: bool | None = None

    @staticmethod
    def pair(
        messages: tuple[Turn, ...],
        chosen: str,
        rejected: str,
        system: str = "",
        scores: tuple[float, ...] | None = None,
    ) -> Example:
        """A prompt with a chosen and a rejected response."""
        made: Example = _make(Example, (messages, (chosen, rejected), system, scores, None))
        return made

    @staticmethod
    def labelled(messages: tuple[Turn, ...], response: str, label: bool, system: str = "") -> Example:
        """A prompt with a single response and its label."""
        return Example(messages, (response,), system, None, label)

    @staticmethod
    def single(messages: tuple[Turn, ...], response: str, system: str = "") -> Example:
        """A prompt with the response to imitate."""
        return Example(messages, (response,), system)

    def split(self) -> tuple[Example, Example]:
        """The responses of a pair apart: the chosen one labelled desirable, the rejected one undesirable."""
        messages, (chosen, rejected), system, *_ = self
        return Example.labelled(messages, chosen, True, system), Example.labelled(messages, rejected, False, system)

    @property
    def kind(self) -> ExampleKind:
        """Whether this is one of the "pairs", of the "labels" or of the "responses"."""
        if self.label is not None:
            return "labels"
        return "pairs" if len(self.responses) > 1 else "responses"

    @property
    def chosen(self) -> str:
        """The chosen response of a pair, or the only one."""
        return self.responses[0]

    @property
    def rejected(self) -> str:
        """The rejected response of a pair."""
        return self.responses[1]

    @property
    def spoken(self) -> list[tuple[str, str]]:
        """Who says what before the responses: "system", "user" or "assistant", and the text."""
        system = [("system", self.system)] if self.system else []
        return system + [("assistant" if turn.role == GPT else "user", turn.value) for turn in self.messages]

    @property
    def texts(self) -> list[str]:
        """All texts: the system prompt, the responses, the messages."""
        return [self.system, *self.responses, *[turn.value for turn in self.messages]]


class BadRow(ValueError):
    """A row that cannot become an example. `str(error)` is the reason, worded to be counted with others of its kind."""


_make: Any = tuple.__new__  # what `Turn(...)` calls, in half of its time


def turns(messages: Any) -> tuple[Turn, ...]:
    """Messages as dictionaries (`from`/`value`, `role`/`content`, ...) -> turns; a system turn keeps its role.

    Raises:
        BadRow: not a list, an entry has no role or text, an unknown role, tool calls, or media.
    """
    if not isinstance(messages, list):
        raise BadRow("the messages are not a list")
    found, known_roles = [], vocabulary().speakers
    for message in messages:
        # A message with nothing but a role and a text, which nearly all are, in a fifth of the time.
        if type(message) is dict and len(message) == 2 and "role" in message and "content" in message:
            role, value = message["role"], message["content"]
            if type(role) is str and type(value) is str and (known := known_roles.get(role)) and known != TOOL:
                found.append(_make(Turn, (known, value)))
                continue
        found.append(turn(message))
    return tuple(found)


def turn(message: Any) -> Turn:
    """One message as a dictionary -> a turn. Raises BadRow like `turns`."""
    if not isinstance(message, dict):
        raise BadRow("a message is not an object with a role and a text")
    words = vocabulary()
    role = next((message[key] for key in ("from", *words.role_keys) if key in message), None)
    value = next((message[key] for key in ("value", *words.text_keys) if key in message), None)
    known = words.speakers.get(role) or words.speakers.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        raise BadRow("a message has an unknown role")
    if known == TOOL or message.get("tool_calls"):
        raise BadRow("uses tools, which this version does not carry")
    if isinstance(value, list):
        value = _joined(value)
    if not isinstance(value, str):
        raise BadRow("a message has no text")
    return Turn(known, value)


def _joined(parts: list[Any]) -> str:
    """The text of a message given in parts, as chat interfaces with pictures do: [{"type": "text", "text": ...}]."""
    texts: list[Any] = []
    for part in parts:
        if isinstance(part, dict) and part.get("type", "text") == "text":
            part = next((part[key] for key in ("text", "value", "content") if part.get(key) is not None), None)
        texts.append(part)
    if not all(isinstance(text, str) for text in texts):
        raise BadRow("a message is not text alone (pictures or other media)")
    return "".join(texts)


def parse_label(value: Any) -> bool:
    """A label as files give it: true/false, 1/0, 1/-1, or a word for one of them. Raises BadRow for all else."""
    if value is None:
        raise BadRow("the label is missing")
    if isinstance(value, str):
        value = vocabulary().labels.get(value.strip().lower())
    if isinstance(value, bool | int | float) and value in (0, 1, -1):
        return value > 0
    raise BadRow("the label is neither true nor false")


_SPACES = b" \t\n\v\f\r"
_LOWER = bytes(range(256)).lower()


def prompt_key(messages: Iterable[Turn]) -> bytes:
    """What a conversation asks, equal for equal prompts.

    Neither case nor white space nor the width of characters (NFKC: "Ａ" and "A", "？" and "?", a no-break space and a
    space) make another prompt, nor does the system prompt. What was said before does.
    """
    text = "\0".join([value for _, value in messages])
    if text.isascii():
        return text.encode().translate(_LOWER, _SPACES)  # in one go, which is twice as fast
    return unicodedata.normalize("NFKC", text).lower().encode("utf-8", "surrogatepass").translate(None, _SPACES)
