"""Requests to an OpenAI-compatible endpoint that may be slow, broken or hostile.

`requests`, which the hubs use already, sends them: the official client brings pydantic and a second HTTP library, takes
a second to import, and has no limit on what a body may hold; `httpx` has no overall time limit either.

Importing this module imports `requests`.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, NoReturn, TypeVar

import requests

from rlguide.errors import EngineError
from rlguide.inference.address import Address
from rlguide.inference.completion import Unfit, events_in, json_of
from rlguide.inference.refusals import Refusals
from rlguide.network.faults import FAULTS, fault_name
from rlguide.network.retry import BUSY, Backoff, GaveUp, requested_wait

T = TypeVar("T")
BLOCK = 1 << 16  # bytes
_SPENT = "insufficient_quota"  # a 429 of OpenAI's that no waiting helps


@dataclass(frozen=True)
class Limits:
    """Of one request.

    Attributes:
        connect: seconds until there is a connection.
        silent: seconds without a byte of a stream.
        total: seconds of one try, whatever comes. A response that is not streamed is silent until it is whole.
        body: bytes of a response. (A line of the head has 64 KiB and the head 100 of them at most: `http.client`.)
    """

    connect: float = 10.0
    silent: float = 120.0
    total: float = 600.0
    body: int = 32 << 20


class _Later(Exception):
    """The same request may succeed later."""

    def __init__(self, fault: str, requested: float | None = None, reached: bool = True) -> None:
        super().__init__(fault)
        self.fault, self.requested, self.reached = fault, requested, reached


class _Bearer(requests.auth.AuthBase):
    """Sends the key. Being there, it also keeps `requests` from sending what ~/.netrc has for the host."""

    def __init__(self, key: str | None) -> None:
        self.key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"
        return request


class Caller:
    """The requests of one thread to one endpoint, one after another.

    No redirect is followed, so the key goes to the origin that was named; no cookie is kept. Proxies are those of the
    environment, but none stands between this machine and itself.

    Args:
        stopped: set when nobody waits any more.
        say: prints a line.
    """

    def __init__(self, address: Address, limits: Limits, stopped: threading.Event, say: Callable[[str], None]) -> None:
        self.address, self.limits = address, limits
        self._stopped, self._say = stopped, say
        key = address.key()
        self._refusals = Refusals(address.url, key)
        self._session = requests.Session()
        self._session.auth = _Bearer(key)
        self._session.headers.update({"User-Agent": "rlguide", "Accept-Encoding": "identity"})
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._session.trust_env = not address.is_loopback
        self._response: requests.Response | None = None
        self._has_reached = False
        self._since: float | None = None

    def check_event(self, event: Any) -> None:
        """Raises EngineError if an event of a stream is an error."""
        if isinstance(event, Mapping) and event.get("error"):
            said, _ = self._refusals.shown(event)
            raise EngineError(f"{self.address.url} broke off within a response{said}", "ask again; look at its log")

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a response. Raises EngineError."""

        def attempt() -> Any:
            with self._open(method, path, body, self.limits.total) as response:
                return json_of(b"".join(self._chunks(response)))

        return self._tried(attempt)

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """The JSON of each event of a stream; that of the whole body, if the endpoint does not stream.

        It is tried again only until the first event. Raises EngineError.
        """
        return self._guarded(self._tried(lambda: self._first(path, body)))

    def is_overdue(self) -> bool:
        """Whether a try takes longer than it may."""
        since = self._since
        return since is not None and time.monotonic() - since > self.limits.total + 1.0

    def cancel(self) -> None:
        """End the request that is in progress; called from another thread."""
        response = self._response
        if response is not None:
            try:
                response.raw.shutdown()  # ends a read that waits in another thread
            except (ValueError, RuntimeError, OSError, AttributeError):  # it has ended by itself
                pass

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def without_key(self, text: str) -> str:
        """A text that the endpoint sent, without the key that it was given."""
        return self._refusals.without_key(text)

    def _guarded(self, events: Iterator[Any]) -> Iterator[Any]:
        with self.meant():
            yield from events

    def _first(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        events = self._events(path, body)
        first = next(events, None)

        def all_of_them() -> Iterator[Any]:
            if first is not None:
                yield first
            yield from events

        return all_of_them()

    def _events(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        with self._open("POST", path, body, self.limits.silent) as response:
            if "json" in response.headers.get("Content-Type", ""):
                yield json_of(b"".join(self._chunks(response)))
            else:
                yield from events_in(self._chunks(response))

    def _tried(self, attempt: Callable[[], T]) -> T:
        backoff, failures = Backoff("the endpoint", self._say, self._sleep), 0
        with self.meant():
            while True:
                try:
                    return attempt()
                except _Later as later:
                    failures += 1
                    if not later.reached and not self._has_reached and failures > 1:
                        raise self._unreached(later.fault) from None
                    self._wait(backoff, later)

    def _wait(self, backoff: Backoff, later: _Later) -> None:
        try:
            backoff.wait(f"the endpoint: {later.fault}", later.requested)
        except GaveUp as gave_up:
            if gave_up.requested is not None:
                raise EngineError(
                    f"{self.address.url} asks to wait {gave_up.requested:,.0f} s ({later.fault})",
                    "wait that long, then run the same command again: what has come is kept",
                ) from None
            raise EngineError(
                f"{self.address.url} failed {gave_up.tries} times ({later.fault})",
                "look at its log, then run the same command again: what has come is kept",
            ) from None

    def _sleep(self, seconds: float) -> None:
        self._since = None
        if self._stopped.wait(seconds):
            raise EngineError("stopped", "run the same command again")

    @contextmanager
    def meant(self) -> Iterator[None]:
        """What is no response, or breaks off, as an EngineError."""
        try:
            yield
        except Unfit as error:
            raise self._foreign(str(error)) from None
        except _Later as later:
            raise EngineError(
                f"{self.address.url} broke off within a response ({later.fault})", "ask again; look at its log"
            ) from None

    @contextmanager
    def _open(
        self, method: str, path: str, body: Mapping[str, Any] | None, silent: float
    ) -> Iterator[requests.Response]:
        self._since = time.monotonic()
        try:
            response = self._session.request(
                method,
                self.address.url + path,
                json=body,
                stream=True,
                allow_redirects=False,
                timeout=(self.limits.connect, silent),
            )
        except requests.exceptions.SSLError as error:
            raise self._unreached(fault_name(error)) from None
        except FAULTS as error:
            raise _Later(fault_name(error), reached=False) from None
        except (requests.RequestException, UnicodeError, ValueError) as error:
            raise self._foreign(f"{type(error).__name__} of the request") from None
        self._response, self._has_reached = response, True
        try:
            if response.status_code != 200:
                self._refuse(response)
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise Unfit("what came is compressed, which was not asked for")
            yield response
        except FAULTS as error:
            raise _Later(fault_name(error)) from None
        finally:
            self._response = self._since = None
            response.close()

    def _chunks(self, response: requests.Response, most: int | None = None) -> Iterator[bytes]:
        """The body as it comes; no more than its limit."""
        left = self.limits.body if most is None else most
        while chunk := response.raw.read1(BLOCK):
            left -= len(chunk)
            if left < 0:
                raise Unfit("what came does not end")
            yield chunk

    def _refuse(self, response: requests.Response) -> NoReturn:
        """Raise what a status other than 200 means."""
        status = response.status_code
        try:
            body = json.loads(b"".join(self._chunks(response, BLOCK)))
        except (Unfit, ValueError, RecursionError, *FAULTS):
            body = None
        said, named = self._refusals.shown(body)
        if (status in BUSY or status > 505) and _SPENT not in named:
            raise _Later(f"HTTP {status}{said}", requested_wait(response.headers))
        raise self._refusals.of_status(status, said, named)

    def _foreign(self, words: str) -> EngineError:
        return EngineError(
            f"{self.address.url} gave no response: {words}",
            "name the address of an OpenAI-compatible API, up to and with /v1",
        )

    def _unreached(self, fault: str) -> EngineError:
        return EngineError(
            f"cannot reach {self.address.url} ({fault})", "start the endpoint, or check its address and the network"
        )
