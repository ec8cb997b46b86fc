"""A chat at a terminal: read a prompt or a command, show a response, until Ctrl-D."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from rlguide.console import nobody_reads, say, show_error
from rlguide.errors import RlguideError
from rlguide.serving.chat.commands import COMMANDS, EXIT, command_in, completions
from rlguide.serving.chat.editing import Editor, FullEditor, PlainEditor, pastes_marked
from rlguide.serving.chat.saved import whole
from rlguide.serving.chat.state import Chat


def chat_at_terminal(chat: Chat, editor: Editor) -> None:
    """Until /exit, `exit`, Ctrl-D or Ctrl-C at the prompt, or until nobody reads the responses any more."""
    with _killed_ends():
        _read_and_respond(chat, editor)


@contextmanager
def _killed_ends() -> Iterator[None]:
    """Have `kill` end the chat: as Ctrl-C, which it is for other commands, it would only stop a response."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(130)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read_and_respond(chat: Chat, editor: Editor) -> None:
    while not nobody_reads():
        try:
            text = whole(editor.read())
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n" if isinstance(editor, PlainEditor) else "")
            return
        if text.strip() in EXIT:
            return
        if not text.strip():
            continue
        try:
            if isinstance(editor, PlainEditor):
                _handle(chat, text)
            else:
                with pastes_marked():
                    _handle(chat, text)
        except KeyboardInterrupt:  # while a model was loaded, or in the moment after a response
            say("stopped")
        except RlguideError as error:
            show_error(error.what, error.fix)


def _handle(chat: Chat, text: str) -> None:
    command = command_in(text)
    if command is None:
        chat.respond(chat.conversation.ask(chat.policy, text.strip()))
    else:
        command[0].run(chat, command[1])
    sys.stderr.write("\n" if sys.stdout.isatty() else "")  # an empty line before the next prompt


def editor_for(can_draw: bool) -> Editor:
    """How prompts are typed here: `can_draw` says whether the terminal can do more than lines."""
    return FullEditor(_completer()) if can_draw else PlainEditor()


def _completer() -> Any:
    from prompt_toolkit.completion import Completer, Completion, PathCompleter
    from prompt_toolkit.document import Document

    class Commands(Completer):
        """Names of commands at the beginning of a prompt, and a path behind one that takes a file."""

        paths = PathCompleter(expanduser=True)

        def get_completions(self, document: Document, complete_event: Any) -> Any:
            """As prompt_toolkit asks for them."""
            before = document.text_before_cursor
            name, space, argument = before.partition(" ")
            if before.startswith("/") and not space:
                for name in completions(before):
                    yield Completion(name, -len(before), display=name.strip())
            elif name in COMMANDS and COMMANDS[name].takes_file:
                yield from self.paths.get_completions(Document(argument), complete_event)

    return Commands()
