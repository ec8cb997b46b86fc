"""What a client may ask for: every body is served as it was meant, or refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.conftest import worker_module

requests = worker_module("openai_api.requests")
USER = {"role": "user", "content": "hi"}


def asked(**body: Any) -> Any:
    return requests.chat_request({"messages": [USER], **body}, "mine")


def refusal(**body: Any) -> Any:
    with pytest.raises(requests.BadRequest) as caught:
        asked(**body)
    return caught.value


def test_settings_are_those_of_the_engine() -> None:
    found = asked(
        temperature=0, top_p=0.5, top_k=7, repetition_penalty=1.2, max_tokens=9, seed=3, stop="END", stream=True
    )
    assert {key: type(value) for key, value in asked(temperature=2, top_p=1).settings.items()} == {
        "temperature": float,
        "top_p": float,
    }
    assert found.settings == {"temperature": 0, "top_p": 0.5, "top_k": 7, "repetition_penalty": 1.2}
    assert (found.max_new_tokens, found.seed, found.stops, found.is_stream) == (9, 3, ("END",), True)
    assert asked(max_tokens=9, max_completion_tokens=5).max_new_tokens == 5
    assert asked().settings == {}


@pytest.mark.parametrize(
    "given_", [{"presence_penalty": 0}, {"n": 1}, {"tools": []}, {"logit_bias": None}, {"user": "x"}]
)
def test_what_changes_nothing_is_served(given_: dict[str, Any]) -> None:
    assert asked(**given_) == asked()


@pytest.mark.parametrize(
    ("body", "param", "status"),
    [
        ({"presence_penalty": 0.5}, "presence_penalty", 400),
        ({"n": 2}, "n", 400),
        ({"n": True}, "n", 400),
        ({"tools": [{"type": "function"}]}, "tools", 400),
        ({"response_format": {"type": "json_object"}}, "response_format", 400),
        ({"temperature": "0"}, "temperature", 400),
        ({"temperature": -1}, "temperature", 400),
        ({"temperature": True}, "temperature", 400),
        ({"temperature": 10**400}, "temperature", 400),
        ({"max_tokens": 1.5}, "max_tokens", 400),
        ({"max_tokens": 0}, "max_tokens", 400),
        ({"stop": [""]}, "stop", 400),
        ({"stream": "yes"}, "stream", 400),
        ({"do_sample": False}, "'do_sample'", 400),
        ({"model": "gpt-3.5-turbo"}, "model", 404),
        ({"messages": []}, "messages", 400),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", 400),
        ({"messages": [USER, USER]}, "messages[1].role", 400),
        ({"messages": [USER, {"role": "system", "content": "x"}]}, "messages[1].role", 400),
        ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "messages", 400),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", 400),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content", 400),
    ],
)
def test_what_would_change_the_response_is_refused(body: dict[str, Any], param: str, status: int) -> None:
    found = refusal(**body)
    assert (found.param, found.status) == (param, status)


def test_all_parts_of_a_message_count() -> None:
    parts = [{"type": "text", "text": "You are "}, {"type": "text", "text": "terse."}]
    found = asked(messages=[{"role": "developer", "content": parts}, USER])
    assert found.messages == [{"role": "system", "content": "You are terse."}, USER]


@pytest.mark.parametrize(
    "url", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x", "data:image/png;base64,AA"]
)
def test_nothing_is_opened_or_fetched(url: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert refusal(messages=[{"role": "user", "content": [part]}]).code == "unsupported_content"


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b'{"temperature": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(raw: bytes) -> None:
    with pytest.raises(requests.BadRequest) as caught:
        requests.read_body(raw)
    assert caught.value.code == "invalid_json"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from([*requests.ROLES, "tool"]), "content": VALUES}), max_size=4
)
BODIES = st.fixed_dictionaries(
    {}, optional={**dict.fromkeys(sorted(requests.KNOWN), VALUES), "messages": MESSAGES | VALUES, "extra": VALUES}
)


@given(BODIES)
def test_any_body_is_served_or_refused(body: dict[str, Any]) -> None:
    try:
        found = requests.chat_request(requests.read_body(json.dumps(body).encode()), "mine")
    except requests.BadRequest as error:
        assert 400 <= error.status < 500 and error.message
        return
    roles = [message["role"] for message in found.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    assert turns == ["user", "assistant"] * (len(turns) // 2) + ["user"]
    assert all(isinstance(message["content"], str) for message in found.messages)
    assert found.settings.keys() <= {"temperature", "top_p", "top_k", "repetition_penalty"}
    assert 0 <= found.settings.get("temperature", 0) <= 10
