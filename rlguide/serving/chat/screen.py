"""What a chat shows: responses as Markdown that grows, or as they come where nothing can be drawn."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rlguide.console import console, printable, say

NARROWEST = 100  # columns for two responses beside each other: each has lines of 48 characters then
_PAINT = 0.05  # seconds between two pictures; drawing takes at most a fifth of the time, however long a block is
_SHARE = 5


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that understands more than text."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


class Screen:
    """Where responses are shown. `is_drawn`: as Markdown."""

    def __init__(self, is_drawn: bool) -> None:
        self.is_drawn = is_drawn

    def show(self, pieces: Generator[str, None, None]) -> bool:
        """Show a response while it comes; Ctrl-C stops it. Whether anything came."""
        sink = _Drawn() if self.is_drawn else _Plain()
        is_empty = True
        try:
            with waiting():
                piece = next(pieces, None)
            while piece is not None:
                is_empty = False
                sink.feed(printable(piece))
                piece = next(pieces, None)
        except KeyboardInterrupt:
            pass
        finally:
            try:
                pieces.close()  # which waits until the model has stopped; a second Ctrl-C does not
            finally:
                sink.end()
        return not is_empty

    def collect(self, pieces: Generator[str, None, None], what: str) -> str:
        """The response as one text, with a word while it comes; Ctrl-C stops it and what came is given."""
        got = ""
        try:
            with waiting(what) as update:
                for piece in pieces:
                    got += printable(piece)
                    update(f"{what}: {len(got)} characters so far")
        except KeyboardInterrupt:
            pass
        finally:
            pieces.close()
        return got

    def beside(self, responses: list[tuple[str, str]]) -> None:
        """Show responses under their titles: in columns where the terminal has room, else one below the other."""
        if not self.is_drawn:
            for title, text in responses:
                sys.stdout.write(f"--- {printable(title)} ---\n{printable(text)}\n")
            sys.stdout.flush()
            return
        from rich.text import Text

        from rlguide.serving.chat.markdown import whole_response

        if console().width >= NARROWEST:
            console().print(_columns(responses))
            return
        for title, text in responses:
            console().print(Text(f"── {title} ──", style="bold cyan"))
            console().print(whole_response(printable(text)))
            console().print()


def _columns(responses: list[tuple[str, str]]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from rlguide.serving.chat.markdown import whole_response

    table = Table(box=box.MINIMAL, expand=True, show_edge=False, pad_edge=False)
    for title, _ in responses:
        table.add_column(Text(title, style="bold cyan"), ratio=1, overflow="fold")
    table.add_row(*[whole_response(printable(text)) for _, text in responses])
    return table


class _Plain:
    """The text as it comes."""

    def feed(self, piece: str) -> None:
        sys.stdout.write(piece)
        sys.stdout.flush()

    def end(self) -> None:
        sys.stdout.write("\n")
        sys.stdout.flush()


class _Drawn:
    """Blocks that have ended are printed once and for all; the last one is drawn again as it grows.

    Of one that is higher than the screen only the end is drawn while it grows: so nothing that is drawn again has left
    the screen, and what scrolls back is complete.
    """

    def __init__(self) -> None:
        from rich.live import Live

        from rlguide.serving.chat.markdown import Blocks

        self._blocks = Blocks()
        self._console = console()
        self._live: Any = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._is_first = True
        self._next = 0.0

    def feed(self, piece: str) -> None:
        from rlguide.serving.chat.markdown import Block

        if not self._live.is_started:
            self._live.start()
        ended = [text for text in self._blocks.feed(piece) if text.strip()]
        started = time.monotonic()
        if not ended and started < self._next:
            return
        with self._console:  # all in one write, so that nothing flickers
            if ended:
                self._live.update("", refresh=True)
            for text in ended:
                self._print(text)
            last = max(1, self._console.height - 1)
            self._live.update(Block(self._blocks.rest, self._is_first, last), refresh=True)
        now = time.monotonic()
        self._next = now + max(_PAINT, _SHARE * (now - started))

    def end(self) -> None:
        with self._console:
            self._live.update("")
            self._live.stop()
            for text in self._blocks.end():
                self._print(text)

    def _print(self, text: str) -> None:
        from rlguide.serving.chat.markdown import Block

        self._console.print(Block(text, self._is_first), end="")
        self._is_first = False


@contextmanager
def waiting(what: str = "") -> Iterator[Any]:
    """Something that moves on stderr until the first piece comes; gives a function that changes its text."""
    err = console(stderr=True)
    if not can_draw(sys.stderr):
        if what:
            say(f"  {what}")
        yield lambda text: None
        return
    with err.status(what) as status:
        yield status.update
