"""What the GPUs do, asked now and then beside whatever else goes on: the driver may take seconds to answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from rlguide.engine.hardware import GpuUse, gpu_use

_EVERY = 3.0  # seconds


class GpuMeter:
    """Asks the driver every few seconds, in a thread of its own; once only on a host where it names no GPU."""

    def __init__(
        self, ask: Callable[[], Sequence[GpuUse]] = gpu_use, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask, self._now = ask, now
        self._found: Sequence[GpuUse] = ()
        self._asked: float | None = None
        self._thread: threading.Thread | None = None
        self._is_without = False

    def read(self) -> Sequence[GpuUse]:
        """What was found last; starts to ask again when that is some seconds old."""
        is_due = self._asked is None or self._now() - self._asked >= _EVERY
        is_asking = self._thread is not None and self._thread.is_alive()
        if is_due and not is_asking and not self._is_without:
            self._asked = self._now()
            self._thread = threading.Thread(target=self._look, daemon=True)
            self._thread.start()
        return self._found

    def wait(self, seconds: float) -> Sequence[GpuUse]:
        """What is found within so many seconds."""
        self.read()
        if self._thread is not None:
            self._thread.join(seconds)
        return self._found

    def _look(self) -> None:
        found = self._ask()
        self._is_without = not found and not self._found
        self._found = found
