"""Progress of work over rows or bytes: a bar on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rlguide import console

FIRST_LINE = 2.0  # seconds: nothing is silent for longer
NEXT_LINES = 10.0
FIRST_BAR = 0.5  # seconds: what is done by then needs no bar
STEADY = 1.0  # seconds of work from which on its rate says something
STALL = 0.3  # seconds without an update: at the beginning that is a library being loaded, not the work
BEGINNING = 5.0  # seconds


class Ticker:
    """Reports `done` of `total` now and then; use it as a context manager.

    Args:
        what: what is being done, such as "converting orca_dpo".
        unit: "rows" or "bytes".
        total: how many there are, None if that is not known.
    """

    def __init__(self, what: str, unit: str, total: int | None) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.done = 0
        self._draws = sys.stderr.isatty()
        self._started = self._drawn = self._began = self._seen = time.monotonic()
        self._before = 0  # done when the rate was first measured, at `_began`
        self._wait = FIRST_LINE
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Ticker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int) -> None:
        """Set how much is done. Cheap: most calls only look at the clock."""
        self.done = done
        now = time.monotonic()
        if now - self._seen > STALL and now - self._started < BEGINNING:
            self._began, self._before = now, done
        self._seen = now
        if self._bar is not None:
            if now - self._drawn > 0.1:
                self._drawn = now
                self._bar.update(self._task, completed=done)
        elif self._draws:
            if now - self._started > FIRST_BAR:
                self._bar = console.progress(self.unit)
                self._task = self._bar.add_task(self.what, total=self.total, completed=done)
                self._bar.start()
        elif now - self._drawn > self._wait:
            self._drawn, self._wait = now, NEXT_LINES
            console.say(self.line(now - self._began, self._before))

    def line(self, elapsed: float, before: int = 0) -> str:
        """The plain line: amount and share; rate and time left where the work has gone on for some time.

        Args:
            elapsed: seconds that the work has taken since `before` of it was done.
        """
        rate = (self.done - before) / elapsed if elapsed >= STEADY else 0.0
        parts = [f"{self.what}: {self._amount(self.done)}"]
        if self.total:
            done = f"{self.done:,}" if self.unit == "rows" else self._amount(self.done)
            parts = [f"{self.what}: {done} of {self._amount(self.total)} ({self.done / self.total:.0%})"]
        if rate:
            slow = rate < 10 and self.unit != "bytes"
            parts.append(f"{rate:.1f} {self.unit}/s" if slow else f"{self._amount(round(rate))}/s")
        if self.total and rate:
            parts.append(f"about {max(0, self.total - self.done) / rate:.0f} s left")
        return ", ".join(parts)

    def _amount(self, value: int) -> str:
        return format_bytes(value) if self.unit == "bytes" else f"{value:,} {self.unit}"


def format_bytes(value: int) -> str:
    """Bytes for people: 512 B, 3.4 kB, 12.0 MB, 1.5 GB (powers of 1,000)."""
    if value < 1000:
        return f"{value} B"
    size = float(value)
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.95 or unit == "TB":
            break
    return f"{size:.1f} {unit}"
