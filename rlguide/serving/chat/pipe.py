"""A chat in a pipe: a line in, a line out."""

from __future__ import annotations

import sys

from rlguide.console import nobody_reads, printable, to_json
from rlguide.serving.chat.commands import EXIT
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.kept import Kept


def chat_in_pipe(model: Kept, conversation: Conversation, as_json: bool, is_one: bool) -> None:
    """Respond to each line until the input ends, or nobody reads the responses any more.

    Line breaks inside a response are written as \\n.

    Args:
        is_one: whether the lines are one conversation; else each is a prompt of its own.
    """
    for line in sys.stdin.buffer:
        text = line.decode("utf-8", "replace").strip()
        if text in EXIT or nobody_reads():
            return
        if text == "/clear" or not is_one:
            conversation.clear()
        if text in ("", "/clear"):
            continue
        response = "".join(conversation.ask(model, text))
        if as_json:
            row = to_json({"prompt": text, "response": response, "finish_reason": model.ended})
        else:
            row = printable(response).replace("\n", "\\n")
        sys.stdout.write(row + "\n")
        sys.stdout.flush()
