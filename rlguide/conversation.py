"""What is said to a model and what it says back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Message = dict[str, str]  # {"role": "system" | "user" | "assistant", "content": ...}
Ended = Literal["stop", "length", "stopped", "filtered"]
_ENDINGS: dict[Any, Ended] = {"stop": "stop", "length": "length", "stopped": "stopped", "filtered": "filtered"}


@dataclass(frozen=True)
class Response:
    """What a model responded.

    Attributes:
        ended: "stop" by itself, "length" where it was cut at the limit of tokens, "stopped" by the user, "filtered"
            where the endpoint withheld the rest (its content filter).
    """

    text: str
    ended: Ended

    @property
    def is_cut(self) -> bool:
        """Whether it reached the limit of tokens."""
        return self.ended == "length"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def ended_of(value: Any) -> Ended:
    """How a response ended, as a worker or a peer says it; "stop" where it says nothing that is known."""
    return _ENDINGS.get(value, "stop") if isinstance(value, str) else "stop"


def response_of(value: Any) -> Response | None:
    """The response that a file describes as `Response.as_dict` does; None if it describes none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("text"), str):
        return None
    ended = value.get("ended")
    return Response(value["text"], _ENDINGS[ended]) if isinstance(ended, str) and ended in _ENDINGS else None


def messages_of(value: Any) -> list[Message]:
    """The messages of a prompt that was read from a file, each with role and content; [] if it is none."""
    found: list[Message] = []
    for message in value if isinstance(value, list) else ():
        texts = [message.get(key) for key in ("role", "content")] if isinstance(message, dict) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            return []
        found.append({"role": str(texts[0]), "content": str(texts[1])})
    return found
