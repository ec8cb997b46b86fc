"""A model that responds: what a policy that the engine keeps loaded and an endpoint have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rlguide.conversation import Ended, Message, Response


class Model(Protocol):
    """A model that responds. A context manager: only within it can it be asked; entering may take minutes.

    Attributes:
        name: a short name for a column.
        title: what it is, in a line.
        device: where it runs, once entered; "" if that is not known.
        ended: how the last response of `stream` ended.
    """

    name: str
    title: str

    @property
    def device(self) -> str: ...

    @property
    def ended(self) -> Ended: ...

    def identity(self) -> dict[str, Any]:
        """All that decides a response but the prompt, in JSON's terms. Known before the model is loaded."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        """Yield one response piece by piece. Ending the iteration early (also by Ctrl-C) stops the response.

        `temperature`: 0 is greedy decoding, None the model's own default.

        Raises:
            EngineError: the model failed.
        """
        ...

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        """Yield (index, greedy response) to many conversations, as they come.

        Raises:
            EngineError: the model failed; what came before counts.
        """
        ...
