"""What can be typed at the prompt beside prompts: /help, /save FILE and the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rlguide.console import say
from rlguide.errors import RlguideError, UsageError, did_you_mean
from rlguide.serving.chat import saved
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.editing import KEYS
from rlguide.serving.chat.settings import HIGHEST_TEMPERATURE, MOST_TOKENS, is_temperature, is_token_limit
from rlguide.serving.chat.state import Chat

EXIT = ("/exit", "/quit", "exit", "quit")
NO_SYSTEM = "-"


@dataclass(frozen=True)
class Command:
    """A command. `argument`: what stands behind it, as /help shows it; `takes_file`: Tab completes a path."""

    name: str
    argument: str
    what: str
    run: Callable[[Chat, str], None]
    takes_file: bool = False


def _help(chat: Chat, argument: str) -> None:
    usage = {f"{command.name} {command.argument}".strip(): command.what for command in COMMANDS.values()}
    width = max(map(len, (*usage, *(key for key, _ in KEYS))))
    for words, what in (*usage.items(), *KEYS):
        say(f"  {words:<{width}}  {what}")
    say(f"  now: {chat.conversation.settings.describe()}")


def _system(chat: Chat, argument: str) -> None:
    if argument:
        chat.conversation.system = None if argument == NO_SYSTEM else argument
    system = chat.conversation.system
    say(f"system prompt: {system}" if system else "no system prompt of its own: the template's, if it has one")


def _temperature(chat: Chat, argument: str) -> None:
    if argument:
        try:
            value = float(argument)
        except ValueError:
            value = -1.0
        if not is_temperature(value):
            raise UsageError(f"{argument} is no temperature", f"a number from 0 (greedy) to {HIGHEST_TEMPERATURE:g}")
        chat.conversation.settings = replace(chat.conversation.settings, temperature=value)
    say(chat.conversation.settings.describe())


def _max(chat: Chat, argument: str) -> None:
    if argument:
        try:
            value = int(argument)
        except ValueError:
            value = 0
        if not is_token_limit(value):
            raise UsageError(f"{argument[:40]} is no number of tokens", f"a whole number from 1 to {MOST_TOKENS}")
        chat.conversation.settings = replace(chat.conversation.settings, max_new_tokens=value)
    say(chat.conversation.settings.describe())


def _retry(chat: Chat, argument: str) -> None:
    _check_begun(chat)
    if chat.conversation.settings.temperature == 0:
        say("  (at temperature 0 the response is the same)")
    chat.respond(chat.conversation.again(chat.policy))


def _undo(chat: Chat, argument: str) -> None:
    _check_begun(chat)
    removed, last = chat.conversation.undo(), chat.conversation.last_prompt
    say(f"removed: {_short(removed)}")
    say(f"the last prompt is now: {_short(last)}" if last else "the conversation is empty")


def _save(chat: Chat, argument: str) -> None:
    path = _path(argument, "/save")
    if not chat.conversation.messages:
        raise UsageError("there is nothing to save yet", "type a prompt first")
    is_replaced = saved.save(path, chat.conversation, chat.policy.model.title)
    say(f"{'replaced' if is_replaced else 'saved to'} {path}: {_size(chat.conversation)}")


def _load(chat: Chat, argument: str) -> None:
    path = _path(argument, "/load")
    found = saved.load(path, chat.conversation.settings)
    chat.conversation.system, chat.conversation.settings = found.system, found.settings
    chat.conversation.turns, chat.conversation.unanswered = found.turns, found.unanswered
    say(f"loaded {path}: {_size(found)}; {found.settings.describe()}")
    if found.unanswered is not None:
        say(f"  (the last prompt has no response, /retry asks it: {_short(found.unanswered)})")
    elif found.turns:
        say(f"  (the last prompt: {_short(found.last_prompt)})")


def _compare(chat: Chat, argument: str) -> None:
    conversation = chat.conversation
    if not conversation.turns:
        raise UsageError("there is no response to compare with yet", "type a prompt first, then /compare")
    other = chat.others.named(argument, chat.policy)
    wanted = conversation.settings
    pieces = other.stream(conversation.before_last_response, wanted.max_new_tokens, wanted.temperature)
    text = chat.screen.collect(pieces, f"{other.name} responds")
    chat.screen.beside([(chat.policy.name, conversation.last_response), (other.name, text)])


def _clear(chat: Chat, argument: str) -> None:
    chat.conversation.clear()
    say("new conversation")


COMMANDS = {
    command.name: command
    for command in (
        Command("/help", "", "this list", _help),
        Command("/system", "TEXT", f"set the system prompt; {NO_SYSTEM} removes it, nothing shows it", _system),
        Command("/temperature", "T", f"0 (greedy) to {HIGHEST_TEMPERATURE:g}; nothing shows it", _temperature),
        Command("/max", "N", "longest response, in tokens", _max),
        Command("/retry", "", "another response to the last prompt", _retry),
        Command("/undo", "", "take the last prompt and its response back", _undo),
        Command("/save", "FILE", "write the conversation as JSON", _save, takes_file=True),
        Command("/load", "FILE", "resume a saved conversation", _load, takes_file=True),
        Command("/compare", "[NAME]", "the parent's response beside the last one, or that of NAME", _compare),
        Command("/clear", "", "start a new conversation", _clear),
        Command("/exit", "", "leave", lambda chat, argument: None),
    )
}


def command_in(text: str) -> tuple[Command, str] | None:
    """The command that a text is, and its argument; None for a prompt.

    A prompt can begin with a slash if a space stands before it, or if it has several lines (pasted code does).

    Raises:
        UsageError: it begins as a command, and there is none of that name; or one that takes nothing has something.
    """
    if not text.startswith("/"):
        return None
    name, _, rest = text.strip().partition(" ") if " " in text.split("\n")[0] else text.strip().partition("\n")
    command, argument = COMMANDS.get(name), rest.strip()
    if command is None:
        if "\n" in text.strip():
            return None
        raise UsageError(
            f"there is no command {name}{did_you_mean(name, list(COMMANDS))}",
            "/help lists them; a prompt that begins with / is typed with a space before it",
        )
    if argument and not command.argument:
        raise UsageError(f"{name} takes nothing behind it", name)
    return command, argument


def completions(before: str) -> Iterator[str]:
    """Names of commands that begin as this text does."""
    yield from (f"{name} " if COMMANDS[name].argument else name for name in COMMANDS if name.startswith(before))


def _check_begun(chat: Chat) -> None:
    if chat.conversation.last_prompt is None:
        raise UsageError("the conversation is empty", "type a prompt first")


def _path(argument: str, command: str) -> Path:
    if not argument:
        raise UsageError(f"{command} needs a file", f"{command} chat.json")
    quoted = len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'"
    try:
        return Path(argument[1:-1] if quoted else argument).expanduser()
    except RuntimeError:  # ~nobody
        raise RlguideError(f"{argument} names the home of a user who is not there", f"{command} chat.json") from None


def _size(conversation: Conversation) -> str:
    responses = len(conversation.turns) // 2
    prompts = responses + (conversation.unanswered is not None)
    return f"{prompts} prompt{'s' * (prompts != 1)}, {responses} response{'s' * (responses != 1)}"


def _short(text: str | None) -> str:
    line = (text or "").strip().split("\n")[0]
    return line if len(line) <= 60 and line == (text or "").strip() else f"{line[:59]}…"
