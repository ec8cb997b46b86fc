"""A conversation under any order of prompts, stops, retries and undos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Message
from rlguide.serving.chat.conversation import Conversation


class Scripted:
    """Says these pieces, and keeps what it was asked."""

    def __init__(self, *pieces: str) -> None:
        self.pieces, self.asked = pieces, [{}]

    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        self.asked = [dict(message) for message in messages]
        yield from self.pieces


@given(st.lists(st.tuples(st.sampled_from(["ask", "stop", "nothing", "again", "undo", "clear"]), st.integers(0, 9))))
def test_prompts_and_responses_always_alternate(steps: list[tuple[str, int]]) -> None:
    conversation = Conversation("system")
    for what, number in steps:
        model = Scripted() if what == "nothing" else Scripted("a", str(number))
        if what in ("ask", "nothing"):
            list(conversation.ask(model, f"prompt {number}"))
        elif what == "stop":
            pieces = conversation.ask(model, f"prompt {number}")
            next(pieces)
            pieces.close()
            assert conversation.last_response == "a"
        elif what == "again" and conversation.last_prompt is not None:
            before = conversation.messages
            list(conversation.again(model))
            assert (
                conversation.turns[:-1] == [m for m in before if m["role"] != "system"][: len(conversation.turns) - 1]
            )
        elif what == "undo" and conversation.last_prompt is not None:
            size = len(conversation.messages)
            conversation.undo()
            assert len(conversation.messages) < size
        elif what == "clear":
            conversation.clear()
        roles = [message["role"] for message in conversation.messages]
        assert roles == ["system", *(["user", "assistant"] * len(roles))[: len(roles) - 1]]
        assert model.asked[-1].get("role", "user") == "user"


def test_a_retry_that_brings_nothing_keeps_the_first_response() -> None:
    conversation = Conversation()
    list(conversation.ask(Scripted("first"), "p"))
    list(conversation.again(Scripted()))
    assert (conversation.last_response, conversation.unanswered) == ("first", None)
    with pytest.raises(KeyError):
        list(conversation.again(Failing()))
    assert (conversation.last_response, conversation.unanswered) == ("first", None)


class Failing(Scripted):
    def stream(
        self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None
    ) -> Iterator[str]:
        raise KeyError
        yield ""
