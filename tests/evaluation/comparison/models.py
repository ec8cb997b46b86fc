"""Models that are scripted, for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rlguide.conversation import Ended, Message, Response


class Scripted:
    """Responds by a function of the last message; breaks off after `patience` responses, as Ctrl-C does."""

    device = ""
    ended: Ended = "stop"
    loaded: list[str] = []  # noqa: RUF012  (names of all that are entered now)

    def __init__(self, name: str, respond: Callable[[str], str], patience: int = 9999) -> None:
        self.name, self.title, self.respond, self.patience = name, f"scripted {name}", respond, patience
        self.entered = self.asked = 0

    def identity(self) -> dict[str, Any]:
        return {"scripted": self.name}

    def __enter__(self) -> Scripted:
        assert not Scripted.loaded, "two models in memory"
        Scripted.loaded.append(self.name)
        self.entered += 1
        return self

    def __exit__(self, *error: Any) -> None:
        Scripted.loaded.remove(self.name)

    def stream(self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None) -> Any:
        raise NotImplementedError

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        for index, messages in enumerate(conversations):
            if self.asked == self.patience:
                raise KeyboardInterrupt
            self.asked += 1
            text = self.respond(messages[-1]["content"])
            yield index, Response(text[:max_new_tokens], "length" if len(text) > max_new_tokens else "stop")
