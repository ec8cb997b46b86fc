"""The conversation of a chat: what was said, and what a model is asked next."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Protocol

from rlguide.conversation import Message
from rlguide.serving.chat.settings import Settings


class Speaker(Protocol):
    """What a conversation needs of a model (`rlguide.inference.model.Model` has it)."""

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]: ...


class Conversation:
    """Prompts and responses in turn, with the system prompt in front.

    Attributes:
        turns: user and assistant in turn; each prompt here has its response.
        unanswered: a last prompt to which nothing came; `again` asks it.
    """

    def __init__(self, system: str | None = None, settings: Settings | None = None) -> None:
        self.system = system
        self.settings = settings or Settings()
        self.turns: list[Message] = []
        self.unanswered: str | None = None

    @property
    def first(self) -> list[Message]:
        """The system prompt, if there is one."""
        return [{"role": "system", "content": self.system}] if self.system else []

    @property
    def messages(self) -> list[Message]:
        """All of it, as a model is asked and as it is saved."""
        last = [] if self.unanswered is None else [{"role": "user", "content": self.unanswered}]
        return [*self.first, *self.turns, *last]

    @property
    def before_last_response(self) -> list[Message]:
        """What the last response was a response to; [] if there is none."""
        return [*self.first, *self.turns[:-1]] if self.turns else []

    @property
    def last_response(self) -> str:
        """The last response; "" if there is none."""
        return self.turns[-1]["content"] if self.turns else ""

    def clear(self) -> None:
        """Start again, with the same system prompt and settings."""
        self.turns, self.unanswered = [], None

    def ask(self, model: Speaker, text: str) -> Generator[str, None, None]:
        """Yield the response piece by piece. However the iteration ends, what came stays in the conversation."""
        self.unanswered = text
        response = ""
        try:
            wanted = self.settings
            for piece in model.stream(self.messages, wanted.max_new_tokens, wanted.temperature):
                response += piece
                yield piece
        finally:
            if response:
                self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": response}]
                self.unanswered = None

    def again(self, model: Speaker) -> Generator[str, None, None]:
        """Yield another response to the last prompt, which takes the place of the first unless nothing comes.

        There has to be a last prompt (`last_prompt`).
        """
        if self.unanswered is not None:
            yield from self.ask(model, self.unanswered)
            return
        before = self.turns[-2:]
        del self.turns[-2:]
        try:
            yield from self.ask(model, before[0]["content"])
        finally:
            if self.unanswered is not None:
                self.turns += before
                self.unanswered = None

    @property
    def last_prompt(self) -> str | None:
        """The last prompt, with or without a response."""
        if self.unanswered is not None:
            return self.unanswered
        return self.turns[-2]["content"] if self.turns else None

    def undo(self) -> str | None:
        """Take back the last prompt and its response; gives that prompt, None if there is none."""
        last = self.last_prompt
        if self.unanswered is not None:
            self.unanswered = None
        else:
            del self.turns[-2:]
        return last
