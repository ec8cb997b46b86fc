"""A model that is loaded when it is first asked, and kept."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from types import TracebackType
from typing import Self

from rlguide.conversation import Ended, Message
from rlguide.errors import EngineError
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.model import Model


class Kept:
    """A model that is entered at its first prompt and stays so; after a failure it is entered again for the next."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.is_loaded = False

    @property
    def name(self) -> str:
        """A short name."""
        return self.model.name or self.model.title

    @property
    def is_ours(self) -> bool:
        """Whether it is loaded here, and not behind an address."""
        return isinstance(self.model, LoadedPolicy)

    @property
    def ended(self) -> Ended:
        """How the last response ended."""
        return self.model.ended

    @property
    def weight(self) -> int | None:
        """Bytes of its weights, once it is loaded; None if that is not known."""
        return self.model.size if isinstance(self.model, LoadedPolicy) else None

    def load(self) -> Self:
        """Enter the model, if that is not done. Raises EngineError as the model does."""
        if not self.is_loaded:
            self.model.__enter__()
            self.is_loaded = True
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_loaded:
            self.is_loaded = False
            self.model.__exit__(kind, value, trace)

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Generator[str, None, None]:
        """As `Model.stream`."""
        self.load()
        try:
            yield from self.model.stream(messages, max_new_tokens, temperature)
        except EngineError as error:
            self.__exit__(EngineError, error, error.__traceback__)
            raise
