"""What a node says first: its address, whatever its shell prints before; anything else is no address."""

from __future__ import annotations

import json

from hypothesis import example, given
from hypothesis import strategies as st

from rlguide.launchers.ssh.node import _hello_in

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)


@given(st.ip_addresses().map(str), st.integers(1, 65535), st.sampled_from((b"", b"\r", b"\n", b"\r\n")))
def test_read_as_said(address: str, port: int, end: bytes) -> None:
    said = {"address": address, "port": port}
    assert _hello_in(b"NODE " + json.dumps(said).encode() + end) == said


@given(st.one_of(st.binary(max_size=40), JSON.map(lambda value: b"NODE " + json.dumps(value).encode())))
@example(b'NODE {"address": 1, "port": 2}')
@example(b'NODE {"address": "a", "port": 0}')
@example(b"NODE " + b"[" * 100000)
def test_anything_else_is_no_address(line: bytes) -> None:
    assert _hello_in(line) is None
