"""Whatever comes is a value, or said to be none; how it is cut into pieces changes nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rlguide.inference.completion import Piece, Unfit, events_in, fault_in, models_in, piece_in, response_in

LINES = st.sampled_from(
    ["data: 1", "data:[2]", "data: {", "data: [DONE]", "", ": ping", "event: x", "data", "梨", 'data: "\u2028"']
)
NAMES = ["choices", "message", "delta", "content", "text", "finish_reason", "tool_calls", "error", "code", "data", "id"]
WORDS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["stop", "length", "content_filter"])
)
ANY = st.recursive(WORDS, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(NAMES), x, max_size=4))


def read(chunks: list[bytes]) -> tuple[list[Any], str]:
    found: list[Any] = []
    try:
        for event in events_in(chunks):
            found.append(event)
    except Unfit as error:
        return found, str(error)
    return found, ""


@given(st.lists(LINES), st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(1, 9)))
def test_a_stream_is_the_same_however_it_is_cut(lines: list[str], end: str, sizes: list[int]) -> None:
    whole = "".join(line + end for line in lines).encode()
    chunks, rest = [], whole
    for size in sizes:
        chunks.append(rest[:size])
        rest = rest[size:]
    assert read([*chunks, rest]) == read([whole])


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_read(chunks: list[bytes]) -> None:
    read(chunks)


@given(st.lists(st.integers() | st.text(), max_size=5))
def test_events_come_back(values: list[Any]) -> None:
    raw = "".join(f"data: {json.dumps(value)}\n\n" for value in values).encode()
    assert read([raw]) == (values, "")


@given(ANY)
def test_any_body_is_read(body: Any) -> None:
    for wrapped in (body, {"choices": [body]}, {"choices": [{"message": body, "delta": body}]}, {"error": body}):
        try:
            response = response_in(wrapped)
            assert isinstance(response.text, str)
        except Unfit:
            pass
        try:
            assert isinstance(piece_in(wrapped), Piece)
        except Unfit:
            pass
        assert all(isinstance(text, str) for text in (*fault_in(wrapped), *models_in(wrapped)))
