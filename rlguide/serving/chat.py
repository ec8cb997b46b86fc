"""Chat with a policy, at a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from rlguide.console import printable, say, to_json
from rlguide.conversation import Message
from rlguide.engine.chat import ChatSession
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.inference.loaded import loading_message
from rlguide.runs.choose import ModelRequest, choose_partner
from rlguide.workspace import Workspace

HELP = "/clear starts a new conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops a response"
EXIT = ("/exit", "/quit", "exit", "quit")


@dataclass(frozen=True)
class ChatOptions:
    """How to chat. `temperature` None: the engine's default; `as_json`: one JSON object per piped line."""

    system: str | None = None
    temperature: float | None = None
    max_new_tokens: int = 512
    as_json: bool = False

    def generation(self) -> dict[str, Any]:
        """The engine's keys."""
        chosen = {"temperature": self.temperature} if self.temperature is not None else {}
        return {"max_new_tokens": self.max_new_tokens, **chosen}


def chat(ws: Workspace, engine: Engine, wanted: ModelRequest, options: ChatOptions) -> None:
    """Load the policy and chat until the input ends, by /exit, `exit`, Ctrl-D or Ctrl-C at the prompt.

    Raises:
        UsageError, CheckpointError, EngineError: the policy cannot be found or loaded.
    """
    partner = choose_partner(ws, wanted, lambda: load_schema(engine).model_templates)
    say(f"loading {partner.title}")
    with ExitStack() as stack:
        with loading_message() as on_wait:
            session = stack.enter_context(ChatSession(engine, partner.args, ws.root, on_wait))
        if sys.stdin.isatty():
            say(f"ready on {session.device}; {HELP}")
            _chat_at_terminal(session, _Conversation(options))
        else:
            _chat_in_pipe(session, _Conversation(options), options.as_json)


class _Conversation:
    """The turns so far, with the system prompt in front."""

    def __init__(self, options: ChatOptions) -> None:
        self.generation = options.generation()
        self._first: list[Message] = [{"role": "system", "content": options.system}] if options.system else []
        self.messages: list[Message] = list(self._first)

    def clear(self) -> None:
        """Start again."""
        self.messages = list(self._first)

    def ask(self, session: ChatSession, text: str) -> Generator[str, None, None]:
        """Yield the response; afterwards both turns are part of the conversation. A prompt without one is not."""
        self.messages.append({"role": "user", "content": text})
        response = ""
        try:
            for piece in session.ask(self.messages, **self.generation):
                response += piece
                yield piece
        finally:
            if response:
                self.messages.append({"role": "assistant", "content": response})
            else:
                self.messages.pop()


def _chat_at_terminal(session: ChatSession, conversation: _Conversation) -> None:
    """Ask for a line, stream the response."""
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
        if command in EXIT:
            return
        if command == "/clear":
            conversation.clear()
            say("new conversation")
        elif command.startswith("/"):
            say(HELP)
        elif command:
            _stream(session, conversation, command)


def _read_line(prompt: str) -> str:
    if sys.stdout.isatty():
        return input(prompt)
    sys.stderr.write(prompt)  # where stdout goes into a file, it is for responses alone
    sys.stderr.flush()
    return input()


def _stream(session: ChatSession, conversation: _Conversation, text: str) -> None:
    pieces = conversation.ask(session, text)
    try:
        for piece in pieces:
            sys.stdout.write(printable(piece))
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass
    finally:
        pieces.close()
        sys.stdout.write("\n")
        sys.stdout.flush()
    if session.ended == "length":
        say(f"  (stopped at {conversation.generation['max_new_tokens']} tokens: --max-new-tokens)")


def _chat_in_pipe(session: ChatSession, conversation: _Conversation, as_json: bool) -> None:
    """A line in, a line out; line breaks inside a response are written as \\n."""
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "replace").strip()
        if text in EXIT:
            return
        if text == "/clear":
            conversation.clear()
        elif text:
            response = "".join(conversation.ask(session, text))
            if as_json:
                row = {"prompt": text, "response": response, "finish_reason": session.ended}
                sys.stdout.write(to_json(row) + "\n")
            else:
                sys.stdout.write(printable(response).replace("\n", "\\n") + "\n")
            sys.stdout.flush()
