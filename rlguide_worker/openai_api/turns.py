"""Several responses at once on one model: each takes a step in its turn, so all of them stream, in the same order.

A step is computed alone, never in one batch with others: padding would change the last bits, and with them, now and
then, a token. So a response is the same whoever else is served.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any


class Turns:
    """A lock that goes round: who has waited longest gets it next (a `threading.Lock` may starve one)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._is_taken = False

    def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def give(self) -> None:
        """End a turn."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # it stays taken: it is handed over
            else:
                self._is_taken = False

    def pass_on(self) -> None:
        """Let those that wait go first."""
        if self._waiting:
            self.give()
            self.take()


class Dice:
    """The random numbers of a response with a seed, apart from those of all others."""

    def __init__(self, seed: int, device: Any) -> None:
        import torch

        self._others = self._now(device)
        torch.manual_seed(seed)
        self._own = self._now(device)
        self._device = device
        self._set(self._others)

    def begin(self) -> None:
        """A turn begins."""
        self._others = self._now(self._device)
        self._set(self._own)

    def end(self) -> None:
        """A turn ends."""
        self._own = self._now(self._device)
        self._set(self._others)

    @staticmethod
    def _now(device: Any) -> tuple[Any, Any]:
        import torch

        return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None

    def _set(self, state: tuple[Any, Any]) -> None:
        import torch

        torch.set_rng_state(state[0])
        if state[1] is not None:
            torch.cuda.set_rng_state(state[1], self._device)
