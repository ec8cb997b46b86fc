"""Chat with a policy: which one is meant, and the conversation itself, at a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rlguide.console import console, printable, say
from rlguide.engine.chat import ChatSession, Message
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.runs.choose import ModelRequest, choose_partner
from rlguide.workspace import Workspace

HELP = "/clear forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer"


def chat(
    ws: Workspace,
    engine: Engine,
    wanted: ModelRequest,
    system: str | None = None,
    temperature: float | None = None,
    max_new_tokens: int = 512,
    as_json: bool = False,
) -> None:
    """Load the policy and talk until the input ends, by /exit, `exit`, Ctrl-D or Ctrl-C at the prompt.

    Raises:
        UsageError, CheckpointError, EngineError: the policy cannot be found or loaded.
    """
    partner = choose_partner(ws, wanted, lambda: load_schema(engine).model_templates)
    say(f"loading {partner.title}")
    generation: dict[str, Any] = {"max_new_tokens": max_new_tokens}
    if temperature is not None:
        generation["temperature"] = temperature
    with ExitStack() as stack:
        with _waiting() as on_wait:
            session = stack.enter_context(ChatSession(engine, partner.args, ws.root, on_wait))
        if sys.stdin.isatty():
            say(f"ready on {session.device}; {HELP}")
            _talk(session, _Conversation(system), generation)
        else:
            _answer_lines(session, _Conversation(system), generation, as_json)


class _Conversation:
    """The turns so far, with the system prompt in front."""

    def __init__(self, system: str | None) -> None:
        self._first: list[Message] = [{"role": "system", "content": system}] if system else []
        self.messages: list[Message] = list(self._first)

    def clear(self) -> None:
        self.messages = list(self._first)

    def ask(self, session: ChatSession, text: str, generation: dict[str, Any]) -> Iterator[str]:
        """Yield the answer; afterwards both turns are part of the conversation. A question without one is not."""
        self.messages.append({"role": "user", "content": text})
        answer = ""
        try:
            for piece in session.ask(self.messages, **generation):
                answer += piece
                yield piece
        finally:
            if answer:
                self.messages.append({"role": "assistant", "content": answer})
            else:
                self.messages.pop()


@contextmanager
def _waiting() -> Iterator[Callable[[float], None]]:
    """Says that the model is loading: a spinner at a terminal, a line now and then in a pipe."""
    err = console(stderr=True)
    if err.is_terminal:
        with err.status("the model is loading") as status:
            yield lambda seconds: status.update(f"the model is loading, {seconds:.0f} s")
    else:
        yield lambda seconds: say(f"  the model is loading, {seconds:.0f} s") if round(seconds) % 10 == 2 else None


def _talk(session: ChatSession, conversation: _Conversation, generation: dict[str, Any]) -> None:
    """At a terminal: ask for a line, stream the answer."""
    try:
        import readline  # noqa: F401  (line editing and history in input())
    except ImportError:
        pass
    while True:
        try:
            text = _read_line("you: ")
        except (EOFError, KeyboardInterrupt):
            sys.stderr.write("\n")
            return
        command = text.strip()
        if command in ("/exit", "/quit", "exit", "quit"):
            return
        if command == "/clear":
            conversation.clear()
            say("the conversation is forgotten")
        elif command.startswith("/"):
            say(HELP)
        elif command:
            _stream(session, conversation, command, generation)


def _read_line(prompt: str) -> str:
    if sys.stdout.isatty():
        return input(prompt)
    sys.stderr.write(prompt)  # stdout is for answers alone where it goes into a file
    sys.stderr.flush()
    return input()


def _stream(session: ChatSession, conversation: _Conversation, text: str, generation: dict[str, Any]) -> None:
    pieces = conversation.ask(session, text, generation)
    try:
        for piece in pieces:
            sys.stdout.write(printable(piece))
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    finally:
        _close(pieces)
        sys.stdout.write("\n")
        sys.stdout.flush()
    if session.finish_reason == "length":
        say(f"  (stopped at {generation['max_new_tokens']} tokens: --max-new-tokens)")


def _close(pieces: Iterator[str]) -> None:
    close = getattr(pieces, "close", None)
    if close is not None:
        close()


def _answer_lines(session: ChatSession, conversation: _Conversation, generation: dict[str, Any], as_json: bool) -> None:
    """In a pipe: a line in, a line out; line breaks inside an answer are written as \\n."""
    for line in _piped_lines():
        text = line.strip()
        if text in ("/exit", "/quit", "exit", "quit"):
            return
        if text == "/clear":
            conversation.clear()
        elif text:
            answer = "".join(conversation.ask(session, text, generation))
            if as_json:
                row = {"prompt": text, "answer": answer, "finish_reason": session.finish_reason}
                sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                sys.stdout.write(printable(answer).replace("\n", "\\n") + "\n")
            sys.stdout.flush()


def _piped_lines() -> Iterator[str]:
    for raw in sys.stdin.buffer:
        yield raw.decode("utf-8", "replace")
