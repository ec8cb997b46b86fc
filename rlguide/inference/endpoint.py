"""A model behind an OpenAI-compatible address."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rlguide.console import say, warn
from rlguide.conversation import Ended, Message, Response
from rlguide.errors import EngineError, UsageError
from rlguide.inference.address import Address, is_address, parse_address
from rlguide.inference.calls import call
from rlguide.inference.completion import Piece, models_in, piece_in, response_in

if TYPE_CHECKING:
    from rlguide.inference.wire import Caller, Limits

T = TypeVar("T")
__all__ = ["Endpoint", "is_address"]
CONCURRENCY = 4
_PATH = "/chat/completions"
_SHOWN = 10  # models that an error lists
_MOST_REFUSED = 5  # single requests that may be refused before all are given up
_LONGEST_TOKEN = 128  # characters: the longest of the vocabularies in use is 128 spaces
_LEAST_TEXT = 1 << 16  # characters that any response may have: some endpoints count tokens their own way
_AGAIN = 5.0  # seconds within which the same line is not said twice
# Parameters that some endpoints want under another name, or not at all.
_OTHERWISE = {"max_tokens": "max_completion_tokens", "temperature": None}
_warned: set[tuple[str, str, int]] = set()


class Endpoint:
    """A model behind an OpenAI-compatible address, as a `Model`.

    Args:
        address: up to and with `/v1`; `#MODEL` behind it says which of its models.
        model: which of its models; None: the only one.
        concurrency: requests at once.
        limits: of each request; None: the usual ones.

    Raises:
        UsageError: the address is none.
    """

    def __init__(
        self, address: str, model: str | None = None, concurrency: int = CONCURRENCY, limits: Limits | None = None
    ) -> None:
        self._address = parse_address(address, model)
        self.address = self._address.url
        self._named(self._address.model)
        self._content: str | None = None
        self.concurrency, self._limits = concurrency, limits
        self.ended: Ended = "stop"
        self.device = ""
        self._renamed: dict[str, str | None] = {}
        self._said: dict[str, float] = {}

    def _named(self, model: str | None) -> None:
        self.model = model
        self.name = model or self.address
        self.title = f"{model or ''}@{self.address}".removeprefix("@")

    def identity(self) -> dict[str, Any]:
        """As of `Model`. The endpoint is asked where no model was named, and on this machine: `rlguide serve` tells
        whether what it serves under a name is another model by now.

        Raises:
            EngineError, UsageError: it cannot be asked; or no model was named, and it serves several.
        """
        found = {"endpoint": self.address, "model": self._model()}
        if self._content is None and self._address.is_loopback:
            listed = self._list()
            if isinstance(listed, BaseException) and "HTTP " not in str(listed):
                raise listed  # nothing is there; a server may well refuse to list what it has
            self._content = listed.get(self.model or "", "") if isinstance(listed, dict) else ""
        return {**found, "content": self._content} if self._content else found

    def __enter__(self) -> Self:
        self._model()
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        """As of `Model`."""

        def job(caller: Caller) -> Iterator[Piece]:
            yield from self._pieces(caller, self._body(messages, max_new_tokens, temperature))

        self.ended = "stopped"
        ended: Ended | None = None
        for _, piece in self._call([job], 1):
            if isinstance(piece, BaseException):
                raise piece
            ended = ended or piece.ended
            if piece.text:
                yield piece.text
        self.ended = ended or "stop"

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        """As of `Model`. Where single requests are refused, the others are asked first, and the error comes last."""

        def job(messages: Sequence[Message]) -> Callable[[Caller], Iterator[Response]]:
            return lambda caller: iter([self._whole(caller, messages, max_new_tokens)])

        from rlguide.inference.refusals import Refused

        refused: list[Refused] = []
        for place, value in self._call([job(messages) for messages in conversations], self.concurrency):
            if isinstance(value, Refused) and len(refused) < _MOST_REFUSED:
                refused.append(value)
            elif isinstance(value, BaseException):
                raise value
            else:
                yield place, value
        if refused:
            raise refused[0]

    def _call(self, jobs: Sequence[Callable[[Caller], Iterator[Any]]], threads: int) -> Iterator[tuple[int, Any]]:
        self._model()
        return call(jobs, self._caller, threads)

    def _caller(self, stopped: threading.Event) -> Caller:
        from rlguide.inference.wire import Caller, Limits

        _warn_of_plain_text(self._address)
        return Caller(self._address, self._limits or Limits(), stopped, self._say)

    def _say(self, line: str) -> None:
        """Say a line of a retry; of many requests at once each would say the same."""
        kind, now = line.partition(": trying")[0], time.monotonic()
        if now - self._said.get(kind, -_AGAIN) >= _AGAIN:
            self._said[kind] = now
            say(line)

    def _model(self) -> str:
        """The model that is asked: what was named, or the only one that the endpoint lists."""
        if self.model is None:
            listed = self._list()
            name = self._only(listed)
            self._named(name)
            self._content = listed[name]
        return self.model or ""

    def _list(self) -> Any:
        """The models of the endpoint, as `models_in` gives them, or the error."""
        return next(iter(call([_listed], self._caller, 1)))[1]

    def _only(self, value: Any) -> str:
        if isinstance(value, EngineError) and "HTTP 404" in value.what:
            raise EngineError(f"{self.address} does not list its models", f"name one: {self.address}#MODEL")
        if isinstance(value, BaseException):
            raise value
        if not value:
            raise EngineError(f"{self.address} lists no model", f"name one: {self.address}#MODEL")
        first, *others = value
        if others:
            names = ", ".join(name[:80] for name in [first, *others][:_SHOWN])
            more = f", and {len(value) - _SHOWN} more" if len(value) > _SHOWN else ""
            raise UsageError(
                f"{self.address} serves several models: {names}{more}", f"name one: {self.address}#{first[:80]}"
            )
        return str(first)

    def _body(self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model, "messages": list(messages), "max_tokens": max_new_tokens}
        return body if temperature is None else {**body, "temperature": temperature}

    def _whole(self, caller: Caller, messages: Sequence[Message], max_new_tokens: int) -> Response:
        body = self._body(messages, max_new_tokens, 0.0)
        value = self._adapted(body, lambda fitting: _response(caller, caller.ask("POST", _PATH, fitting)))
        if len(value.text) > max(_LEAST_TEXT, _LONGEST_TOKEN * max_new_tokens):
            # All responses are held and stored, and a reply of a judge is sent back when it is asked again.
            raise EngineError(
                f"{self.address} sent {len(value.text):,} characters where {max_new_tokens:,} tokens were asked for",
                "look at its log, or name another endpoint",
            )
        return Response(caller.without_key(value.text), value.ended)

    def _pieces(self, caller: Caller, body: dict[str, Any]) -> Iterator[Piece]:
        has_ended = False
        for event in self._adapted(body, lambda fitting: caller.events(_PATH, {**fitting, "stream": True})):
            piece = _piece(caller, event)
            has_ended = has_ended or piece.ended is not None
            yield Piece(caller.without_key(piece.text), piece.ended)
        if not has_ended:
            raise EngineError(f"{self.address} broke off within a response", "ask again; look at its log")

    def _adapted(self, body: dict[str, Any], ask: Callable[[dict[str, Any]], T]) -> T:
        """What `ask` gives for the body, or for one with other parameters, if the endpoint refuses those.

        OpenAI's reasoning models take `max_completion_tokens` for `max_tokens`, and no temperature.
        """
        from rlguide.inference.refusals import Refused

        names = {key: self._renamed.get(key, key) for key in body}
        while True:
            try:
                return ask({name: body[key] for key, name in names.items() if name})
            except Refused as refused:
                wanted = next((key for key in _OTHERWISE if names.get(key) == key and key in refused.named), None)
                if wanted is None:
                    raise
                names[wanted] = self._renamed[wanted] = _OTHERWISE[wanted]
                if wanted == "temperature":
                    self._say(f"note: {self.address} takes no temperature, so its responses are not greedy")


def _response(caller: Caller, body: Any) -> Response:
    with caller.meant():
        return response_in(body)


def _piece(caller: Caller, event: Any) -> Piece:
    with caller.meant():
        caller.check_event(event)
        piece = piece_in(event)
    return piece


def _listed(caller: Caller) -> Iterator[dict[str, str]]:
    listed = models_in(caller.ask("GET", "/models"))
    yield {caller.without_key(name): caller.without_key(content) for name, content in listed.items()}


def _warn_of_plain_text(address: Address) -> None:
    if (
        address.url.startswith("http://")
        and not address.is_loopback
        and address.key()
        and address.origin not in _warned
    ):
        _warned.add(address.origin)
        warn(f"the key goes to {address.origin[1]} over plain http, where others can read it; use https")
