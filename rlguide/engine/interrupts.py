"""Hold Ctrl-C back for the moment in which a process is started.

`subprocess.Popen` forks before its constructor returns. An interrupt in between leaves a child without an owner:
an engine that keeps writing after the command has ended.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back inside the block; one that came is delivered when the block ends.

    The signals' own handlers act then, so what they raise comes out of the block's end. In another thread than the
    main one, where Python delivers no signals, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    before: dict[int, Any] = {int(number): signal.signal(number, note) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():  # None: set by something that is not Python
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for number in sorted(set(came)):
            signal.raise_signal(number)
