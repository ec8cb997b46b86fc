"""What a comparison leaves is read back as it was; what is damaged is said."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response
from rlguide.errors import DataError
from rlguide.evaluation.comparison.record import RESPONSES, Compared, keep_compared, read_compared
from tests.cli.test_damaged_files import hard_bytes

texts = st.text(st.characters(), max_size=8)
prompts = st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), min_size=1, max_size=3)
responses = st.builds(Response, texts, st.sampled_from(["stop", "length", "stopped"]))


@st.composite
def comparisons(draw: st.DrawFn) -> list[Compared]:
    names = draw(st.lists(texts, min_size=1, max_size=3, unique=True))
    given_by_each = st.tuples(*[responses] * len(names)).map(lambda found: dict(zip(names, found, strict=True)))
    one = st.builds(Compared, texts, prompts, given_by_each)
    return draw(st.lists(one, min_size=1, max_size=4))


@given(comparisons())
def test_what_is_kept_is_read_back(found: list[Compared]) -> None:
    with tempfile.TemporaryDirectory() as name:
        keep_compared(Path(name), found)
        again = read_compared(Path(name))
    assert again == found
    assert [item.models for item in again] == [item.models for item in found]


@given(comparisons(), hard_bytes)
def test_a_damaged_line_is_said(found: list[Compared], damaged: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = keep_compared(Path(name), found)
        whole = path.read_bytes()
        path.write_bytes(whole + damaged)
        try:
            assert read_compared(Path(name)) == found and not damaged.decode("utf-8").strip()
        except DataError as error:
            assert error.fix


@pytest.mark.parametrize(
    "line",
    [
        {},
        [],
        {"source": "file", "prompt": [], "responses": {"a": {"text": "x", "ended": "stop"}}},
        {"source": "file", "prompt": [{"role": "user", "content": "p"}], "responses": {}},
        {"source": "file", "prompt": [{"role": "user", "content": "p"}], "responses": {"a": {"text": "x"}}},
        {"source": 1, "prompt": [{"role": "user", "content": "p"}], "responses": {"a": {"text": "", "ended": "stop"}}},
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, line: object) -> None:
    (tmp_path / RESPONSES).write_text(json.dumps(line) + "\n")
    with pytest.raises(DataError, match="line 1"):
        read_compared(tmp_path)


def test_all_records_are_of_the_same_models(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "p"}]
    a, b = Response("1", "stop"), Response("2", "stop")
    keep_compared(tmp_path, [Compared("file", prompt, {"a": a, "b": b}), Compared("file", prompt, {"b": b, "a": a})])
    with pytest.raises(DataError, match="line 2"):
        read_compared(tmp_path)
    (tmp_path / RESPONSES).write_text("\n")
    with pytest.raises(DataError, match="empty"):
        read_compared(tmp_path)


def test_a_key_is_of_prompt_and_responses() -> None:
    def record(prompt: str, first: str, second: str) -> Compared:
        texts = {"a": Response(first, "stop"), "b": Response(second, "length"), "c": Response("other", "stop")}
        return Compared("file", [{"role": "user", "content": prompt}], texts)

    same = record("p", "1", "2").key("a", "b")
    assert record("p", "1", "2").key("b", "a") == same
    others = {record("q", "1", "2").key("a", "b"), record("p", "2", "1").key("a", "b"), record("p", "1", "2").key("a")}
    assert len(others | {same}) == 4
