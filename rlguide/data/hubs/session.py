"""An HTTP session that lives through the faults of a hub: 5xx, 429, cut and stalled connections.

Both hubs use it, so that each fault is handled once and in one way, whichever `huggingface_hub` is installed: 0.x
speaks through `requests`, 1.x through `httpx`, 2.x through `httpx2`, each with retries of its own that know no date in
Retry-After and print addresses which may hold a signature.

Importing this module imports `requests`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests

from rlguide import console
from rlguide.data.hubs.base import Hub
from rlguide.errors import HubError
from rlguide.network.faults import FAULTS, fault_name, origin
from rlguide.network.retry import BUSY, Backoff, GaveUp, requested_wait
from rlguide.progress import FIRST_LINE

UNREACHED_TRIES = 2  # of a hub that never responded: most likely the address or the network is wrong

_responded: set[str] = set()  # addresses that responded in this process: they are worth waiting for


class RetryingSession(requests.Session):
    """A `requests.Session` with one hub: a timeout for every request, retries with exponential backoff, HubError."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self.hub = hub
        self.headers["User-Agent"] = "rlguide"
        if hub.token:  # `requests` drops the header where a redirect leaves the origin
            self.headers["Authorization"] = f"Bearer {hub.token}"

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """As of `requests.Session`, which calls it for every step of a redirect as well.

        A cookie jar would send the token to other ports and, after a redirect, over plain http.
        """
        if self.hub.token and self.hub.cookie and origin(str(request.url)) == origin(self.hub.url):
            earlier = request.headers.get("Cookie")
            ours = f"{self.hub.cookie}={self.hub.token}"
            request.headers["Cookie"] = f"{earlier!s}; {ours}" if earlier else ours
        return super().send(request, **kwargs)

    def request(  # type: ignore[override]
        self, method: str, url: str, backoff: Backoff | None = None, **kwargs: Any
    ) -> requests.Response:
        """As of `requests.Session`, but a response that means "later" leads to another try.

        `backoff` counts the tries, where this request is part of something longer.
        """
        backoff = backoff or Backoff()
        kwargs.setdefault("timeout", self.hub.timeout)
        started, failures = time.monotonic(), 0
        while True:
            requested = None
            try:
                with _told_when_slow(self.hub.timeout):
                    response = super().request(method, url, **kwargs)
            except FAULTS as error:
                fault = fault_name(error)
                said = f"the hub does not respond ({fault})"
                failures += 1
                if self.hub.address not in _responded and failures >= UNREACHED_TRIES:
                    raise HubError(
                        f"cannot reach the hub at {self.hub.address} ({fault}, {time.monotonic() - started:.0f} s)",
                        f"check the network, or {self.hub.alternative}",
                    ) from None
            else:
                _responded.add(self.hub.address)
                if response.status_code not in BUSY:
                    return response
                fault = f"HTTP {response.status_code}"
                said = f"the hub returned {fault}"
                requested = requested_wait(response.headers)
                response.close()
            self.wait(backoff, said, fault, requested)

    def wait(self, backoff: Backoff, said: str, fault: str, requested: float | None = None) -> None:
        """Wait before the next try and say why. Raises HubError, which names `fault`, if no try is left."""
        try:
            backoff.wait(said, requested)
        except GaveUp as gave_up:
            if gave_up.requested is not None:
                raise HubError(
                    f"{self.hub.address} asks to wait {gave_up.requested:,.0f} s ({fault})",
                    "wait that long, then run the same command again; a token raises most limits",
                ) from None
            raise HubError(
                f"{self.hub.address} failed {gave_up.tries} times ({fault})",
                f"wait some minutes and run the same command again, or {self.hub.alternative}",
            ) from None

    def ask(self, hub_id: str, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON of a response of the hub's API. Raises HubError for a refusal."""
        response = self.request(method, f"{self.hub.url}{path}", **kwargs)
        self.check(response, hub_id)
        return response.json()

    def check(self, response: requests.Response, hub_id: str) -> None:
        """Raises HubError for a refusal."""
        if not response.ok:
            raise self.hub.refusal(hub_id, response.status_code, response.headers.get("X-Error-Code", ""))


@contextmanager
def open_session(hub: Hub) -> Iterator[RetryingSession]:
    """A session for the block, in which a response that is not what it should be is a HubError.

    The cause is left out of the error: its text holds the address, which may hold a token or a signature.
    """
    with RetryingSession(hub) as session:
        try:
            yield session
        except (requests.RequestException, LookupError, TypeError, AttributeError, ValueError) as error:
            raise hub.foreign(type(error).__name__) from None


@contextmanager
def _told_when_slow(timeout: float) -> Iterator[None]:
    """Say one line if the block takes longer than anything may be silent."""
    said = f"  no response from the hub yet (timeout: {timeout:.0f} s)"
    timer = threading.Timer(FIRST_LINE, console.say, (said,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
