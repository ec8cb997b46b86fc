"""Saved conversations: what is written is read back, and nothing else is taken for one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.serving.chat import saved
from rlguide.serving.chat.conversation import Conversation
from rlguide.serving.chat.settings import Settings

texts = st.text(max_size=40)
settings = st.builds(Settings, st.none() | st.floats(0, 10, allow_nan=False), st.integers(1, 1_000_000))


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    made = Conversation(draw(st.none() | st.text(min_size=1, max_size=20)), draw(settings))
    for prompt, response in draw(st.lists(st.tuples(texts, texts), max_size=4)):
        made.turns += [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    made.unanswered = draw(st.none() | texts)
    return made


@given(conversations().filter(lambda made: made.messages))
def test_what_is_saved_is_loaded(made: Conversation) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chat.json"
        assert saved.save(path, made, "m") is False
        assert vars(saved.load(path)) == vars(made)
        assert saved.save(path, made, "m") is True
        assert [item.name for item in Path(folder).iterdir()] == ["chat.json"]


def damaged(value: Any) -> st.SearchStrategy[Any]:
    return st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | texts, lambda inner: st.lists(inner))


@given(conversations().filter(lambda made: made.messages), st.data())
def test_a_changed_document_is_a_conversation_or_an_error_in_two_lines(made: Conversation, data: st.DataObject) -> None:
    document = json.loads(json.dumps(saved.document_of(made, "m")))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(damaged(None))
        break
    try:
        found = saved.conversation_of(document, "x.json")
    except DataError as error:
        assert error.what and error.fix and "\n" not in error.what
        return
    roles = [message["role"] for message in found.turns]
    assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert found.settings.temperature is None or 0 <= found.settings.temperature <= 10
    found.messages[-1]["content"].encode()


MESSAGES = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


def test_messages_alone_are_enough() -> None:
    found = saved.conversation_of({"messages": MESSAGES}, "x", Settings(0.5, 7))
    assert (found.turns, found.settings) == (MESSAGES, Settings(0.5, 7))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x00\xff\xfe\x80", "is not UTF-8"),
        (b'{"messages": [', "is not valid JSON"),
        (b"[" * 100_000, "is not valid JSON"),
        (b"[1, 2]", "holds no conversation"),
        (b'{"messages": []}', "has no messages"),
        (b'{"messages": [{"role": "user", "content": [1]}]}', "has no messages"),
        (b'{"format": "other 3", "messages": [{"role": "user", "content": "x"}]}', "is of the format 'other 3'"),
        (b'{"messages": [{"role": "assistant", "content": "x"}]}', "message 1 of"),
        (b'{"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "x"}]}', "of the role 'tool'"),
        (
            b'{"messages": [{"role": "user", "content": "x"}], "settings": {"temperature": NaN}}',
            "no number from 0 to 10",
        ),
        (b'{"messages": [{"role": "user", "content": "x"}], "settings": {"max_new_tokens": true}}', "max_new_tokens"),
        (b'{"messages": [{"role": "user", "content": "x"}], "settings": 3}', "are not an object"),
        (b" " * (saved.LARGEST + 1), "MiB"),
        (b'{"messages": [' + b"{}," * 10_001 + b"{}]}", "10002 messages"),
    ],
)
def test_what_is_no_conversation_is_refused_and_never_overwritten(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        saved.load(path)
    assert words in caught.value.what
    made = Conversation("system")
    with pytest.raises(UsageError, match="is there and is not a conversation"):
        saved.save(path, made, "m")
    assert path.read_bytes() == content


def test_folders_devices_and_names_that_cannot_be() -> None:
    for name in ("/dev/null", "/", "/proc/none/x.json", "x" * 300, "a\0b"):
        with pytest.raises(DataError):
            saved.load(Path(name))
        with pytest.raises(RlguideError):
            saved.save(Path(name), Conversation("s"), "m")


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    document = json.loads('{"messages": [{"role": "user", "content": "a\\ud800b \\ud83d\\ude00"}]}')
    assert saved.conversation_of(document, "x").unanswered == "a\ufffdb 😀"
