"""Retries with exponential backoff and jitter: how often and how long, with Retry-After honoured."""

from __future__ import annotations

import email.utils
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC

from rlguide import console

BUSY = (408, 429, 500, 502, 503, 504)  # the same request may succeed later
TRIES = 5  # in a row without one new byte
LONGEST_BACKOFF = 30.0  # seconds
LONGEST_REQUESTED = 300.0  # seconds that a Retry-After may ask for: the window of the hub's rate limits is 5 minutes
LONGEST_TOTAL = 900.0  # seconds waited for one request or file, all tries together
SAY_EVERY = 5.0  # seconds between two lines of a long wait


def first_wait() -> float:
    """Seconds before the first new try, doubled at each further one: RLGUIDE_RETRY_SECONDS, else 1."""
    try:
        return max(0.0, float(os.environ.get("RLGUIDE_RETRY_SECONDS", "")))
    except ValueError:
        return 1.0


class GaveUp(Exception):
    """No further try is left. `requested` is the wait in seconds that the server asked for and that was too long."""

    def __init__(self, tries: int, requested: float | None = None) -> None:
        super().__init__(f"{tries} tries")
        self.tries = tries
        self.requested = requested


class Backoff:
    """Counts the failures of one request or one file and waits after each.

    `urllib3.Retry` is not used: it knows neither a count that new bytes begin again, nor the server's clock, nor words.

    Args:
        server: what the server is called.
        say: prints a line; `console.say` by default.
        sleep: waits so many seconds; by default it says every few seconds how many are left.
    """

    def __init__(
        self,
        server: str = "the hub",
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._server, self._say, self._wait = server, say, sleep
        self._failures = 0
        self._waited = 0.0

    def progress(self) -> None:
        """New bytes came: the server is alive, so the count begins again (the time waited does not)."""
        self._failures = 0

    def wait(self, reason: str, requested: float | None = None) -> None:
        """Say why in one line, and wait before the next try: at least the seconds that the server
        `requested`.

        `reason` never holds an address, in which a token may be. Raises GaveUp after too many failures, or if the wait
        is longer than this allows.
        """
        self._failures += 1
        if self._failures >= TRIES:
            raise GaveUp(self._failures)
        # Jitter: many clients of a server that comes back must not all return at the same moment.
        seconds = min(LONGEST_BACKOFF, first_wait() * 2 ** (self._failures - 1)) * random.uniform(0.75, 1.25)
        if requested is not None:
            seconds = max(seconds, requested)
        if (requested or 0.0) > LONGEST_REQUESTED or self._waited + seconds > LONGEST_TOTAL:
            raise GaveUp(self._failures, requested)
        self._waited += seconds
        asked = f", as {self._server} asks" if requested is not None and requested >= seconds else ""
        (self._say or console.say)(
            f"  {reason}: trying again in {_seconds(seconds)}{asked} (try {self._failures + 1} of {TRIES})"
        )
        (self._wait or _sleep)(seconds)


def _sleep(seconds: float) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, SAY_EVERY))
        if (left := end - time.monotonic()) > 1:
            console.say(f"    {_seconds(left)} left")


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 9.95 else f"{value:.0f} s"


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that a refusal asks to wait: Retry-After (seconds or a date, RFC 9110), else the `t` of RateLimit.

    A date is compared with the response's own Date, so that a local clock that is wrong changes nothing. Hugging Face
    names the seconds until its window ends in `RateLimit: "api";r=0;t=55`.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    until = _timestamp(value)
    if until is not None:
        now = _timestamp(headers.get("Date", ""))
        return max(0.0, until - (time.time() if now is None else now))
    match = re.search(r";\s*t=(\d+)", headers.get("RateLimit", ""))
    return float(match[1]) if match else None


def _timestamp(date: str) -> float | None:
    """Seconds since 1970 of an HTTP date, None if it is not one. Without a zone it means UTC (RFC 9110, 5.6.7)."""
    try:
        parsed = email.utils.parsedate_to_datetime(date)
        return (parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
