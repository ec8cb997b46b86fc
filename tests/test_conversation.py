"""Messages and responses that are read back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response, ended_of, messages_of, response_of

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["text", "ended", "role", "content"]), inner),
)
ENDED = st.sampled_from(["stop", "length", "stopped"])


@given(text=st.text(), ended=ENDED)
def test_a_response_is_read_back(text: str, ended: Any) -> None:
    response = Response(text, ended)
    assert response_of(json.loads(json.dumps(response.as_dict()))) == response
    assert ended_of(ended) == ended
    assert response.is_cut == (ended == "length")


@given(value=ANYTHING)
def test_anything_else_is_none(value: Any) -> None:
    found = response_of(value)
    assert found is None or found.as_dict() == {key: value[key] for key in ("text", "ended")}
    assert ended_of(value) in ("stop", "length", "stopped")
    assert all(set(message) == {"role", "content"} for message in messages_of(value))


@given(messages=st.lists(st.fixed_dictionaries({"role": st.text(), "content": st.text()})))
def test_messages_are_read_back(messages: list[dict[str, str]]) -> None:
    assert messages_of(json.loads(json.dumps(messages))) == messages
    assert messages_of([*messages, {"role": "user", "content": None}]) == []
