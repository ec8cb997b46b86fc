"""An HTTP session that lives through the faults of a hub: 5xx, 429, cut and stalled connections.

Both hubs use it, so that each fault is handled once and in one way. `huggingface_hub` has retries of its own, which
know no Retry-After, give up on a cut body and print addresses that may hold a signature; what this session gives up
on it raises as HubError, which that client passes on, so nothing is tried twice.

Importing this module imports `requests`.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from rlguide import console
from rlguide.data.hubs.retry import Backoff, GaveUp, requested_wait
from rlguide.errors import HubError
from rlguide.progress import FIRST_LINE

BUSY = (408, 429, 500, 502, 503, 504)  # the same request may succeed later
BLOCK = 1 << 17  # bytes: what a cut connection can lose at most
UNREACHED_TRIES = 2  # of a hub that never answered: most likely the address or the network is wrong

FAULTS = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)

_answered: set[str] = set()  # addresses that answered in this process: they are worth waiting for


class BrokenTransfer(Exception):
    """A body cannot be continued where it broke off: ask for the file anew."""


@dataclass(frozen=True)
class HubName:
    """What messages say of a hub. `address` holds no password; `elsewhere` says how to use another one."""

    address: str
    elsewhere: str


Timeout = float | tuple[float, float]  # seconds of silence that are borne; or those of the connection, and those


class RetryingSession(requests.Session):
    """A `requests.Session` that waits and tries again, and whose streamed bodies continue where they broke off.

    Args:
        timeout: for every request that comes without one: `requests` would wait for ever.
        cookie: "name=value" that goes out with each request to the origin (scheme, host and port) of `home`, and to
            no other. A cookie jar would send it to other ports and, after a redirect, over plain http.

    Raises:
        HubError: from any request, after the last try.
    """

    def __init__(self, name: HubName, timeout: Timeout, cookie: str = "", home: str = "") -> None:
        super().__init__()
        self._name = name
        self._timeout = timeout
        self._cookie = cookie
        self._home = origin(home)

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As of `requests.Session`, which calls it for every step of a redirect as well."""
        if self._cookie and origin(str(request.url)) == self._home:
            earlier = request.headers.get("Cookie")
            request.headers["Cookie"] = f"{earlier!s}; {self._cookie}" if earlier else self._cookie
        return super().send(request, **kwargs)

    def request(self, method: str, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        """As of `requests.Session`; an answer that means "later" is not returned but waited for."""
        if kwargs.get("stream"):
            # A range counts the bytes of what is sent: compressed bodies could not be continued.
            kwargs["headers"] = {**(kwargs.get("headers") or {}), "Accept-Encoding": "identity"}
        if kwargs.get("timeout") is None:  # get_paths_info of `huggingface_hub`, among others
            kwargs["timeout"] = self._timeout
        patience = Backoff()
        ask = super().request

        def send(**changed: Any) -> requests.Response:
            def once() -> requests.Response:
                with _told_when_slow(kwargs["timeout"]):
                    return ask(method, url, *args, **{**kwargs, **changed})

            return self._send(once, patience)

        response = send()
        if kwargs.get("stream") and response.status_code in (200, 206):
            _Body(response, send, patience, kwargs["headers"], self._give_up).attach()
        return response

    def _send(self, ask: Callable[[], requests.Response], patience: Backoff) -> requests.Response:
        """One answer that is not "later"."""
        started = time.monotonic()
        failures = 0
        while True:
            requested = None
            try:
                response = ask()
            except FAULTS as error:
                fault = fault_name(error)
                said = f"the hub does not answer ({fault})"
                failures += 1
                if self._name.address not in _answered and failures >= UNREACHED_TRIES:
                    raise self._unreachable(fault, started) from None
            else:
                _answered.add(self._name.address)
                if response.status_code not in BUSY:
                    return response
                fault = f"HTTP {response.status_code}"
                said = f"the hub answers {fault}"
                requested = requested_wait(response.headers)
                response.close()
            try:
                patience.wait(said, requested)
            except GaveUp as gave_up:
                raise self._give_up(fault, gave_up) from None

    def _unreachable(self, fault: str, started: float) -> HubError:
        after = time.monotonic() - started
        return HubError(
            f"cannot reach the hub at {self._name.address} ({fault}, {after:.0f} s)",
            f"check the network, or {self._name.elsewhere}",
        )

    def _give_up(self, fault: str, gave_up: GaveUp) -> HubError:
        if gave_up.requested is not None:
            return HubError(
                f"{self._name.address} asks to wait {gave_up.requested:,.0f} s ({fault})",
                "wait that long, then run the same command again; a token raises most limits",
            )
        return HubError(
            f"{self._name.address} failed {gave_up.tries} times ({fault})",
            f"wait some minutes and run the same command again, or {self._name.elsewhere}",
        )


class _Body:
    """The body of one answer, continued by a new request with a range each time it breaks off."""

    def __init__(
        self,
        response: requests.Response,
        send: Callable[..., requests.Response],
        patience: Backoff,
        headers: dict[str, str],
        give_up: Callable[[str, GaveUp], HubError],
    ) -> None:
        self._first = response
        self._send = send
        self._patience = patience
        self._headers = headers
        self._give_up = give_up
        self._at = range_start(headers) if response.status_code == 206 else 0

    def attach(self) -> None:
        """Give the response this body."""
        self._first.iter_content = self._blocks  # type: ignore[method-assign]

    def _blocks(self, chunk_size: int | None = 1, decode_unicode: bool = False) -> Iterator[bytes]:
        response, skip = self._first, 0
        while True:
            try:
                for block in requests.Response.iter_content(response, min(chunk_size or BLOCK, BLOCK)):
                    dropped = min(skip, len(block))
                    skip -= dropped
                    if len(block) > dropped:
                        self._at += len(block) - dropped
                        self._patience.progress()
                        yield block[dropped:]
                return
            except FAULTS as error:
                fault = fault_name(error)
            response.close()
            try:
                self._patience.wait(f"the transfer broke off ({fault})")
            except GaveUp as gave_up:
                raise self._give_up(fault, gave_up) from None
            response, skip = self._continue()

    def _continue(self) -> tuple[requests.Response, int]:
        """A response that goes on at the byte reached, and how many of its bytes are already here."""
        response = self._send(headers={**self._headers, "Range": f"bytes={self._at}-"})
        same = _tag(response) == _tag(self._first) or None in (_tag(response), _tag(self._first))
        if same and response.status_code == 200:
            return response, self._at  # this server knows no ranges
        given = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if same and response.status_code == 206 and given and int(given[1]) == self._at:
            return response, 0
        response.close()
        if not same:
            raise BrokenTransfer("the file was changed meanwhile")
        raise BrokenTransfer(f"HTTP {response.status_code}")  # a signed address that expired, or another file now


def _tag(response: requests.Response) -> str | None:
    """The strong ETag: two answers with the same one have the same bytes."""
    tag = response.headers.get("ETag", "")
    return None if tag.startswith("W/") else tag or None


@contextmanager
def _told_when_slow(timeout: Timeout) -> Iterator[None]:
    """Say one line if the block takes longer than anything may be silent."""
    longest = timeout[1] if isinstance(timeout, tuple) else timeout
    timer = threading.Timer(
        FIRST_LINE, console.say, (f"  no answer from the hub yet: {longest:.0f} s are allowed for one",)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def origin(address: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of an address: what must be the same for a secret to be sent along."""
    parts = urlsplit(address)
    try:
        port = parts.port
    except ValueError:  # no number
        port = None
    return parts.scheme, parts.hostname or "", port or {"http": 80, "https": 443}.get(parts.scheme)


def range_start(headers: dict[str, str]) -> int:
    """The first byte that a request's Range header asks for; 0 without one."""
    asked = next((value for key, value in headers.items() if key.lower() == "range"), "")
    match = re.fullmatch(r"bytes=(\d+)-\d*", asked)
    return int(match[1]) if match else 0


def fault_name(error: Exception) -> str:
    """What happened, in the words of the field and without the address."""
    text = repr(error)
    if isinstance(error, requests.exceptions.SSLError):
        return "the certificate is refused"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy fails"
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within the time allowed"
    if isinstance(error, requests.Timeout) or "timed out" in text:
        return "nothing came for too long"
    if "NameResolution" in text or "getaddrinfo" in text or "Name or service" in text:
        return "its name is not known"
    if "refused" in text:
        return "connection refused"
    return "connection cut"
