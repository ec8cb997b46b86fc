"""A policy that the engine keeps loaded, with its whole stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Self

from rlguide.console import console, say
from rlguide.conversation import Ended, Message, Response
from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine
from rlguide.policy.checkpoint import locate
from rlguide.policy.parts import digest_of_part
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace

_VERSIONS = ("llamafactory", "torch", "transformers", "peft", "vllm")


def content_of(ws: Workspace, engine: Engine, policy: Policy, args: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a model's responses: its weights, by their checksums, the keys that load it, the engine's versions.

    Raises:
        CheckpointError: a part cannot be read.
    """
    names = (policy.base, *policy.adapters)
    parts = [digest_of_part(locate(ws, name)) if locate(ws, name).is_dir() else name for name in names]
    paths = ("model_name_or_path", "adapter_name_or_path", "output_dir")
    return {
        "parts": parts,
        "keys": {key: value for key, value in args.items() if key not in paths},
        "engine": {name: engine.versions.get(name) for name in _VERSIONS},
    }


class LoadedPolicy:
    """A policy as a `Model`: entering it starts a worker of the engine, which loads it.

    Args:
        args: LLaMA-Factory's keys that load the policy.
        name, title: as of `Model`.
    """

    def __init__(
        self, ws: Workspace, engine: Engine, policy: Policy, args: Mapping[str, Any], name: str = "", title: str = ""
    ) -> None:
        self.ws, self.engine, self.policy, self.args = ws, engine, policy, dict(args)
        self.name = name or policy.describe()
        self.title = title or policy.describe()
        self._session: ChatSession | None = None

    @property
    def device(self) -> str:
        """As of `Model`."""
        return self._session.device if self._session else ""

    @property
    def size(self) -> int | None:
        """Bytes of its weights, once entered."""
        return self._session.size if self._session else None

    @property
    def ended(self) -> Ended:
        """As of `Model`."""
        return self._session.ended if self._session else "stop"

    @cached_property
    def _content(self) -> dict[str, Any]:
        return content_of(self.ws, self.engine, self.policy, self.args)

    def identity(self) -> dict[str, Any]:
        """As of `Model`; raises CheckpointError where a part cannot be read."""
        return self._content

    def __enter__(self) -> Self:
        with loading_message() as on_wait:
            self._session = ChatSession(self.engine, self.args, self.ws.root, on_wait).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._session is not None:
            self._session.__exit__(*error)
            self._session = None

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        """As of `Model`."""
        chosen = {} if temperature is None else {"temperature": temperature}
        return self._entered.ask(messages, max_new_tokens=max_new_tokens, **chosen)

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        """As of `Model`."""
        return self._entered.responses(conversations, max_new_tokens=max_new_tokens)

    @property
    def _entered(self) -> ChatSession:
        if self._session is None:
            raise RuntimeError("a model is asked within its `with`")
        return self._session


@contextmanager
def loading_message() -> Iterator[Callable[[float], None]]:
    """Says that the model is loading: a spinner on a terminal, a line now and then in a pipe.

    Gives the `on_wait` of `ChatSession`.
    """
    err = console(stderr=True)
    if err.is_terminal:
        with err.status("the model is loading") as status:
            yield lambda seconds: status.update(f"the model is loading, {seconds:.0f} s")
    else:
        yield lambda seconds: say(f"  the model is loading, {seconds:.0f} s") if round(seconds) % 10 == 2 else None
