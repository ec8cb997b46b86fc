"""One line of the report, and values that are computed meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Value = TypeVar("Value")
Status = Literal["ok", "warning", "problem"]
GIB = 1 << 30


@dataclass(frozen=True)
class Finding:
    """One line of the report. `fix` says what to type or change, '' where nothing is wrong."""

    status: Status
    name: str
    what: str
    fix: str = ""


def warn_if(is_bad: bool, name: str, what: str, fix: str) -> Finding:
    """A warning with its fix, or that all is well."""
    return Finding("warning", name, what, fix) if is_bad else Finding("ok", name, what)


class Later(Generic[Value]):
    """A check that runs beside the others; `wait` gives its result, or None if it takes too long."""

    def __init__(self, check: Callable[[], Value]) -> None:
        self._result: list[Value] = []
        self._started = time.monotonic()
        self._thread = threading.Thread(target=lambda: self._result.append(check()), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> Value | None:
        """Wait until `seconds` after the start."""
        self._thread.join(max(0.0, seconds - (time.monotonic() - self._started)))
        return self._result[0] if self._result else None
