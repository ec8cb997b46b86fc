"""Begin a chat: which model, and at a terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.inference.choose import Choice
from rlguide.inference.endpoint import is_address
from rlguide.runs.choose import ModelRequest, run_meant
from rlguide.serving.chat.compare import Others
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.editing import keys_kept
from rlguide.serving.chat.kept import Kept
from rlguide.serving.chat.pipe import chat_in_pipe
from rlguide.serving.chat.screen import Screen, can_draw
from rlguide.serving.chat.settings import Settings
from rlguide.serving.chat.state import Chat
from rlguide.serving.chat.terminal import chat_at_terminal, editor_for
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class ChatOptions:
    """How to chat.

    Attributes:
        as_json: one JSON object for each piped line.
        is_one: piped lines are one conversation.
        is_plain: responses as they come, without Markdown.
    """

    system: str | None = None
    settings: Settings = field(default_factory=Settings)
    as_json: bool = False
    is_one: bool = False
    is_plain: bool = False


def chat(ws: Workspace, find_engine: Callable[[], Engine], wanted: ModelRequest, options: ChatOptions) -> None:
    """Load the model and chat until the input ends, by /exit, `exit`, Ctrl-D or Ctrl-C at the prompt.

    Args:
        find_engine: gives the engine; only called where a policy has to be loaded.

    Raises:
        UsageError, CheckpointError, EngineError: the model cannot be found or loaded.
    """
    model, others = _choose(ws, find_engine, wanted)
    conversation = Conversation(options.system, options.settings)
    with ExitStack() as stack:
        is_typed = sys.stdin.isatty()
        draws = can_draw_prompt() if is_typed else False
        if draws:
            stack.enter_context(keys_kept())
        say(f"{'loading' if model.is_ours else 'asking'} {model.model.title}")
        stack.enter_context(model).load()
        stack.enter_context(others)
        if not is_typed:
            chat_in_pipe(model, conversation, options.as_json, options.is_one)
            return
        editor = editor_for(draws)
        where = f" on {model.model.device}" if model.model.device else ""
        say(f"ready{where}; /help lists what can be typed, Ctrl-D leaves\n")
        screen = Screen(can_draw(sys.stdout) and not options.is_plain)
        chat_at_terminal(Chat(conversation, model, others, screen), editor)


def can_draw_prompt() -> bool:
    """Whether the prompt can be edited: what it is drawn on is a terminal that understands more than text."""
    return can_draw(sys.stdout) or can_draw(sys.stderr)


def _choose(ws: Workspace, find_engine: Callable[[], Engine], wanted: ModelRequest) -> tuple[Kept, Others]:
    """The model to chat with, and where to look for those to compare with."""
    run = None
    if wanted.name is not None and is_address(wanted.name):
        _check_of_address(wanted)
    else:
        run = run_meant(ws, wanted)
        wanted = wanted if run is None else replace(wanted, name=run.name)
    plain = replace(wanted, name=None, base=None, sft=False, step=None, last=False)
    others = Others(Choice(ws, find_engine, plain, run), is_parent=wanted.sft)
    return Kept(Choice(ws, find_engine, wanted, run).named(wanted.name)), others


def _check_of_address(wanted: ModelRequest) -> None:
    """Refuse the options that say how a model is loaded. Raises UsageError."""
    given = {
        "--sft": wanted.sft,
        "--base": wanted.base is not None,
        "--trust-base": wanted.trust_base,
        "--trust-remote-code": wanted.trust_remote_code,
        "--template": wanted.template is not None,
        "--step": wanted.step is not None,
        "--last": wanted.last,
    }
    if odd := next((option for option, is_given in given.items() if is_given), None):
        raise UsageError(f"{odd} says how a model is loaded, and {wanted.name} has loaded its own", f"remove {odd}")
