"""Prompts out of a file, whatever else is in it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.ingest.prompts import read_prompts
from rlguide.errors import DataError
from tests.cli.test_damaged_files import hard_bytes

USER = {"role": "user", "content": "春天在哪里？"}
ASSISTANT = {"role": "assistant", "content": "r"}
ASKED = [("user", "春天在哪里？")]


@pytest.mark.parametrize(
    ("name", "content", "prompt"),
    [
        ("a.txt", "\n  春天在哪里？ \n", ASKED),
        ("a.jsonl", json.dumps({"prompt": "春天在哪里？"}), ASKED),
        ("a.jsonl", json.dumps({"messages": [USER, ASSISTANT]}), ASKED),
        ("a.jsonl", json.dumps({"messages": [{"role": "system", "content": "s"}, USER]}), [("system", "s"), *ASKED]),
        ("a.jsonl", json.dumps({"text": "春天在哪里？"}), ASKED),
        ("a.json", json.dumps(["春天在哪里？"]), ASKED),
        ("a.csv", "prompt,response\n春天在哪里？,r\n", ASKED),
        ("a.jsonl", json.dumps({"instruction": "春天在哪里？", "input": "", "output": "r"}), ASKED),
        (
            "a.jsonl",
            json.dumps({"chosen": [USER, ASSISTANT], "rejected": [USER, {**ASSISTANT, "content": "x"}]}),
            ASKED,
        ),
    ],
)
def test_a_prompt_is_found(tmp_path: Path, name: str, content: str, prompt: list[tuple[str, str]]) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_prompts(tmp_path / name).prompts == [prompt]


def test_each_once_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("a\nb\na\nc\n")
    assert [item[0][1] for item in read_prompts(file).prompts] == ["a", "b", "c"]
    assert read_prompts(file, 3).is_all and not read_prompts(file, 2).is_all


def test_rows_without_a_prompt_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "a b"}\n{"prompt": ""}\n{"prompt": \n')
    found = read_prompts(file)
    assert (found.prompts, found.refused) == ([[("user", "a b")]], 2)
    assert found.reason.startswith("line 2")


@given(hard_bytes, st.sampled_from(["a.txt", "a.jsonl", "a.csv"]))
def test_any_content_is_prompts_or_an_error(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        try:
            found = read_prompts(Path(folder) / name, 5)
        except DataError as error:
            assert error.fix
        else:
            assert all(item[-1][0] == "user" and item[-1][1].strip() for item in found.prompts)
