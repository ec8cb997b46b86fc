"""The text of a response as its tokens come, up to one of the texts that end it."""

from __future__ import annotations

from typing import Any

from generation import Pieces


class Text:
    """Gives what can be shown: whole characters, and nothing that may be the beginning of a text that ends it.

    Args:
        stops: texts that end the response; they are no part of it.
    """

    def __init__(self, tokenizer: Any, stops: tuple[str, ...] = ()) -> None:
        self._new: list[str] = []
        self._pieces = Pieces(tokenizer, self._new.append)
        self._stops, self._held = stops, ""
        self.is_stopped = False

    def add(self, tokens: list[int]) -> str:
        """What tokens add to the text that is shown."""
        self._pieces.add(tokens)
        return self._shown(is_last=False)

    def end(self) -> str:
        """What is left when no token comes any more."""
        self._pieces.end()
        return self._shown(is_last=True)

    def _shown(self, is_last: bool) -> str:
        if self.is_stopped:
            return ""
        text = self._held + "".join(self._new)
        self._new.clear()
        places = [place for place in (text.find(stop) for stop in self._stops) if place >= 0]
        if places:
            self.is_stopped = True
            return text[: min(places)]
        kept = 0 if is_last else max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
