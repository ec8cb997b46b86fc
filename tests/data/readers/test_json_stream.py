from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.readers.json_stream import StreamError, iterate_array

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


class Trickle(io.RawIOBase):
    """A stream that gives as many bytes as the test says, whatever is asked for."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data = data
        self.sizes = sizes or [1]
        self.reads = 0

    def read(self, _: int = -1) -> bytes:
        size = self.sizes[self.reads % len(self.sizes)]
        self.reads += 1
        part, self.data = self.data[:size], self.data[size:]
        return part


def read(data: bytes, sizes: list[int]) -> list[Any]:
    return [value for _, value in iterate_array(Trickle(data, sizes), chunk=1)]  # type: ignore[arg-type]


@given(
    st.lists(values, max_size=6),
    st.lists(st.integers(1, 40), max_size=5),
    st.booleans(),
    st.sampled_from([None, 0, 2]),
    st.sampled_from(["", "\ufeff", " \n\t"]),
)
def test_any_chunking_reads_what_json_loads_reads(
    elements: list[Any], sizes: list[int], ascii_only: bool, indent: int | None, before: str
) -> None:
    text = before + json.dumps(elements, ensure_ascii=ascii_only, indent=indent) + "\n"
    assert read(text.encode(), sizes) == json.loads(text.lstrip("\ufeff"))


@given(st.lists(values, max_size=4), st.lists(st.integers(1, 40), max_size=5), st.data())
def test_a_cut_list_is_an_error_wherever_it_is_cut(elements: list[Any], sizes: list[int], data: st.DataObject) -> None:
    whole = json.dumps(elements, ensure_ascii=False).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(StreamError):
        read(whole[:cut], sizes)


@given(st.text('[]{}",:0123456789eE.-+truefalsn \\u\n', max_size=30), st.lists(st.integers(1, 9), max_size=4))
def test_it_refuses_what_json_loads_refuses(text: str, sizes: list[int]) -> None:
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        expected = None
    if isinstance(expected, list):
        assert read(text.encode(), sizes) == expected
    else:
        with pytest.raises(StreamError):
            read(text.encode(), sizes)


def test_the_line_of_each_element_and_of_the_break_is_told() -> None:
    lines = b'[\n {"a": 1},\n\n {"a":\n 2},\n {"a" 3}\n]'
    read_so_far = []
    with pytest.raises(StreamError, match="line 6"):
        for line, value in iterate_array(io.BytesIO(lines)):
            read_so_far.append((line, value))
    assert read_so_far == [(2, {"a": 1}), (4, {"a": 2})]


def test_a_break_near_the_start_is_found_without_reading_the_rest() -> None:
    stream = io.BytesIO(b'[{"a": 1} {"b": 2}, ' + b'{"c": 3},' * 1_000_000 + b"{}]")
    with pytest.raises(StreamError):
        list(iterate_array(stream, chunk=1 << 12))
    assert stream.tell() < 1 << 14


def test_bytes_that_are_not_utf8() -> None:
    with pytest.raises(StreamError, match="not UTF-8"):
        list(iterate_array(io.BytesIO('["é"]'.encode("latin-1"))))


def test_memory_is_that_of_the_largest_element() -> None:
    import tracemalloc

    class Endless(io.RawIOBase):
        left = 40_000

        def read(self, _: int = -1) -> bytes:
            self.left -= 1
            return b"[" if self.left == 39_999 else b'"' + b"x" * 2000 + b'",' if self.left > 0 else b""

    tracemalloc.start()
    with pytest.raises(StreamError, match="ends too early"):
        for _ in iterate_array(Endless()):  # type: ignore[arg-type]
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000  # of 80 MB that went through
