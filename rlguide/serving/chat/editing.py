"""Typing a prompt: with prompt_toolkit at a terminal that can draw, else a plain line."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rlguide.serving.chat.history import open_history

PROMPT = "you: "
CONTINUED = "...  "
KEYS = (
    ("Enter", "sends the prompt"),
    ("Alt+Enter, Ctrl-J", "begins a new line, as does a \\ before Enter; a paste keeps its lines"),
    ("Up, Down, Ctrl-R", "earlier prompts, also of earlier chats"),
    ("Tab", "completes commands and files"),
    ("Ctrl-C", "stops a response; at the prompt: clears what is typed, or leaves"),
    ("Ctrl-D", "leaves"),
)
_PASTE_ON, _PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"


class Editor(Protocol):
    """Reads prompts."""

    def read(self) -> str:
        """The next prompt. Raises EOFError at Ctrl-D, KeyboardInterrupt at Ctrl-C."""
        ...


class PlainEditor:
    """A line at a time; one that ends with a backslash goes on in the next."""

    def __init__(self) -> None:
        try:
            import readline  # noqa: F401  (line editing in input())
        except ImportError:
            pass

    def read(self) -> str:
        """As of `Editor`."""
        lines = [self._line(PROMPT)]
        while lines[-1].endswith("\\"):
            lines[-1] = lines[-1][:-1]
            lines.append(self._line(CONTINUED))
        return "\n".join(lines)

    def _line(self, prompt: str) -> str:
        if sys.stdout.isatty():
            return input(prompt)
        sys.stderr.write(prompt)  # where stdout goes into a file, it is for responses alone
        sys.stderr.flush()
        return input()


class FullEditor:
    """Lines with history, completion, pastes in one piece. `completer`: a completer of prompt_toolkit."""

    def __init__(self, completer: Any) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.input import create_input
        from prompt_toolkit.output.vt100 import Vt100_Output
        from prompt_toolkit.shortcuts import CompleteStyle

        # Where stdout goes into a file, it is for responses alone.
        output = Vt100_Output.from_pty(sys.stdout if sys.stdout.isatty() else sys.stderr, os.environ.get("TERM"))
        # It would ask the terminal where the cursor is, to have room for menus, of which there are none here. No reply
        # would cost two seconds and a warning; one that comes late would be text that somebody typed.
        output.enable_cpr = False
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=CONTINUED,
            history=open_history(),
            completer=completer,
            complete_while_typing=False,
            complete_style=CompleteStyle.READLINE_LIKE,
            key_bindings=_bindings(),
            enable_suspend=True,
            input=create_input(sys.stdin),
            output=output,
        )

    def read(self) -> str:
        """As of `Editor`."""
        return self._session.prompt()


def _bindings() -> Any:
    from prompt_toolkit.application import get_app
    from prompt_toolkit.filters import Condition
    from prompt_toolkit.key_binding import KeyBindings

    bindings = KeyBindings()

    @bindings.add("enter")
    def send(event: Any) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\") and buffer.document.is_cursor_at_the_end:
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def begin_line(event: Any) -> None:
        event.current_buffer.newline(copy_margin=False)

    @bindings.add("c-c", filter=Condition(lambda: bool(get_app().current_buffer.text)))
    def clear(event: Any) -> None:
        event.current_buffer.reset()

    return bindings


@contextmanager
def keys_kept() -> Iterator[None]:
    """While no prompt is read, keep what is typed for the next prompt as it is, and do not draw it into a response.

    Else the terminal would turn Enter into a line feed, and show keys where a response is being drawn. Ctrl-C and
    Ctrl-Z work as ever.
    """
    try:
        before = termios.tcgetattr(sys.stdin.fileno())
    except (OSError, ValueError, termios.error):  # no terminal
        yield
        return
    quiet = termios.tcgetattr(sys.stdin.fileno())
    quiet[0] &= ~termios.ICRNL
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, before)


@contextmanager
def pastes_marked() -> Iterator[None]:
    """Have the terminal mark what is pasted while a response comes, as it does at the prompt."""
    stream = sys.stdout if sys.stdout.isatty() else sys.stderr
    stream.write(_PASTE_ON)
    stream.flush()
    try:
        yield
    finally:
        stream.write(_PASTE_OFF)
        stream.flush()
