"""Chat with a policy: which one is meant, and the conversation itself, at a terminal or in a pipe."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from rlguide.console import console, say, warn
from rlguide.engine.chat import ChatSession, Message
from rlguide.engine.find import Engine
from rlguide.engine.schema import load_schema
from rlguide.errors import UsageError
from rlguide.policy.base import find_base
from rlguide.policy.checkpoint import Checkpoint, find_checkpoints, locate, read_checkpoint, read_manifest
from rlguide.policy.policy import Policy, check_policy, starting_point
from rlguide.policy.template import template_for
from rlguide.runs.manifest import MANIFEST, Run, open_run
from rlguide.workspace import Workspace

HELP = "/clear forgets the conversation, /exit (or Ctrl-D) leaves, Ctrl-C stops an answer"
# Keys of a run's config that change how its model is loaded or its prompts are written.
_MODEL_KEYS = (
    "trust_remote_code",
    "model_revision",
    "quantization_bit",
    "cache_dir",
    "rope_scaling",
    "flash_attn",
    "resize_vocab",
    "add_tokens",
    "add_special_tokens",
    "split_special_tokens",
    "use_fast_tokenizer",
    "default_system",
    "tool_format",
    "enable_thinking",
)


@dataclass(frozen=True)
class Partner:
    """The policy to talk to, what loads it, and a line that says what it is."""

    policy: Policy
    args: dict[str, Any]
    title: str


@dataclass(frozen=True)
class Wanted:
    """What a person asked to chat with. `name`: a run or a checkpoint; None with no `base` either: the newest run."""

    name: str | None = None
    base: str | None = None
    template: str | None = None
    sft: bool = False
    trust_base: bool = False


def choose_partner(ws: Workspace, wanted: Wanted, find_templates: Callable[[], dict[str, str]]) -> Partner:
    """Find the whole policy that is meant and check that all of it is there.

    Args:
        find_templates: gives the engine's table from model name to template; only called if none is on record.

    Raises:
        UsageError: no such run, or no template can be told.
        CheckpointError: a part of the stack is missing or damaged.
    """
    extra: dict[str, Any] = {}
    notes: list[str] = []
    run = _run(ws, wanted)
    if run is not None:
        policy, roles = _of_run(ws, run, wanted)
        extra = {key: run.config[key] for key in _MODEL_KEYS if run.config.get(key) is not None}
    elif wanted.name is not None:
        checkpoint = read_checkpoint(locate(ws, wanted.name), ws.saves)
        start = starting_point(ws, checkpoint, wanted.base, wanted.trust_base)
        policy, notes = start.reference, list(start.notes)
        roles = _stages(ws, policy)
    else:
        policy, roles = Policy(str(wanted.base)), []
    notes += [note for note in check_policy(ws, policy) if note not in notes]
    for note in notes:
        warn(note)
    template = wanted.template or policy.template
    if template is None:
        base = find_base(ws, policy.base)
        guess = template_for(policy.base, find_templates(), base.config)
        say(f"template {guess.name}: {guess.why}")
        template = guess.name
    policy = Policy(policy.base, policy.adapters, template)
    title = " + ".join(["base", *roles]) + f" ({policy.describe()}), template {template}"
    return Partner(policy, {**extra, **policy.model_config()}, title)


def _run(ws: Workspace, wanted: Wanted) -> Run | None:
    """The run that is meant, or None if a plain checkpoint or a base is."""
    if wanted.name is None:
        if wanted.base is None:
            return open_run(ws, finished=True)
        if wanted.sft:
            raise UsageError("--sft belongs to a run, not to --base alone", "name the run, or leave --sft out")
        return None
    path = locate(ws, wanted.name)
    if not (path / MANIFEST).is_file():
        if wanted.sft:
            raise UsageError(f"--sft belongs to a run, and {wanted.name} has no {MANIFEST}", "leave --sft out")
        return None
    if wanted.base is not None:
        raise UsageError(f"{wanted.name} is a run and knows its base", "leave --base out")
    return open_run(ws, wanted.name)


def _of_run(ws: Workspace, run: Run, wanted: Wanted) -> tuple[Policy, list[str]]:
    """The policy that a run trained, or the one it started from; an unfinished run stands with its last checkpoint."""
    if wanted.sft:
        return run.reference, _stages(ws, run.reference)
    if run.status != "finished":
        whole = [item for item in find_checkpoints(run.path) if item.is_complete and item.path != run.path]
        if not whole:
            raise UsageError(
                f"the run {ws.relative(run.path)} is {run.status} and has no checkpoint yet",
                f"finish it with `rlguide train --resume {ws.relative(run.path)}`, or chat with --sft",
            )
        warn(f"the run is {run.status}; this is its {whole[0].path.name}")
        policy = starting_point(ws, whole[0], trust_base=True).reference
        return policy, _stages(ws, policy)
    return run.policy, _stages(ws, run.policy)


def _stages(ws: Workspace, policy: Policy) -> list[str]:
    """What each adapter is, in a word: "sft", or the method of the run that made it."""
    words = []
    for adapter in policy.adapters:
        part = read_checkpoint(locate(ws, adapter), ws.saves)
        words.append(_word(part))
    return words


def _word(checkpoint: Checkpoint) -> str:
    method = (read_manifest(checkpoint.path) or {}).get("method")
    return str(method) if isinstance(method, str) else checkpoint.stage


def chat(
    ws: Workspace,
    engine: Engine,
    wanted: Wanted,
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


def printable(text: str) -> str:
    """The text without control characters, which could move the cursor or change a terminal's settings."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
