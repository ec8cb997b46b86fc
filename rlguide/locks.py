"""Waiting for another rlguide that works on the same thing, and saying so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rlguide import console
from rlguide.workspace import Locked, locked

LONGEST = 3600.0  # seconds
PATIENCE = 2.0  # seconds of waiting without a word


@contextmanager
def in_turn(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a shared file (see `workspace.locked`); say `busy` if another rlguide has it for now.

    Raises:
        Locked: it has it for more than an hour. RlguideError: like `locked`.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout=PATIENCE))
        except Locked:
            console.say(busy)
            stack.enter_context(locked(path, timeout=LONGEST))
        yield
