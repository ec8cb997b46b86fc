"""What a person sees while a stack is merged: a spinner on a terminal, plain lines elsewhere (stderr)."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.console import console, say
from rlguide.engine.job import Event, Idle, Line
from rlguide.progress import format_bytes

if TYPE_CHECKING:
    from rich.status import Status


# What the engine is doing, as its log shows, in the order in which it comes.
_PHASES = (
    (re.compile(r"loading (?:weights|configuration) file|Loading checkpoint shards"), "loading the base model"),
    (re.compile(r"Merged \d+ adapter"), "adapters merged, converting"),
    (re.compile(r"Configuration saved|saving model|Model weights saved"), "writing the model"),
)

_EVERY = 10.0  # seconds between two lines in a pipe


class MergeView:
    """Shows phase, bytes written and elapsed time. A context manager.

    Args:
        folder: where the model is being written.
        size: how large it will be, in bytes; 0 if that is unknown.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder, self._size = folder, size
        self._begin = self._last = time.monotonic()
        self._phase, self._position = "starting the engine (its imports take about 10 s)", -1
        self._status: Status | None = None

    def __enter__(self) -> MergeView:
        if console(stderr=True).is_terminal:
            self._status = console(stderr=True).status(self._phase)
            self._status.start()
        else:
            say(f"  {self._phase}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def handle(self, event: Event) -> None:
        """Show what the engine does."""
        if not isinstance(event, Idle | Line):
            return
        is_new = isinstance(event, Line) and self._advance(event.text)
        if self._status:
            self._status.update(self._text())
        elif is_new or time.monotonic() - self._last > _EVERY:
            self._last = time.monotonic()
            say(f"  {self._text()}")

    def _advance(self, line: str) -> bool:
        for position, (pattern, phase) in enumerate(_PHASES):
            if position > self._position and pattern.search(line):
                self._position, self._phase = position, phase
                return True
        return False

    def _text(self) -> str:
        written = sum(path.stat().st_size for path in self._folder.glob("*.safetensors"))
        share = f", {format_bytes(written)} of about {format_bytes(self._size)}" if written and self._size else ""
        return f"{self._phase}{share}, {time.monotonic() - self._begin:.0f} s"
