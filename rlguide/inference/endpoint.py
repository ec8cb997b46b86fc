"""A model behind an OpenAI-compatible address."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

from rlguide.conversation import Ended, Message, Response


def is_address(name: str) -> bool:
    """Whether a name is an address and not a run or a folder."""
    return name.startswith(("http://", "https://"))


class Endpoint:
    """A model behind an OpenAI-compatible address, as a `Model`.

    Args:
        address: up to and with `/v1`.
        model: which of its models; None: the only one.
    """

    def __init__(self, address: str, model: str | None = None) -> None:
        self.address, self.model = address.rstrip("/"), model
        self.name = self.title = f"{model or ''}@{self.address}".removeprefix("@")
        self.ended: Ended = "stop"
        self.device = ""

    def identity(self) -> dict[str, Any]:
        """As of `Model`."""
        return {"endpoint": self.address, "model": self.model}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        """As of `Model`."""
        raise NotImplementedError

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        """As of `Model`."""
        raise NotImplementedError
