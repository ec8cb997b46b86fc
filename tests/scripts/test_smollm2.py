"""The data of scripts/reproduce_smollm2.sh: honest against what it is measured with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlguide.catalog.yaml_file import read_yaml
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import load_prompts

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
FOLDER = SCRIPTS / "smollm2"


@pytest.fixture(scope="module")
def make_data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_data", FOLDER / "make_data.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]


def test_each_pair_is_decided_by_its_instructions(make_data: ModuleType) -> None:
    prompts = {prompt.prompt: prompt for _, prompt in make_data.instructed()}
    pairs = rows("pairs.jsonl")
    assert len(pairs) >= 400
    for pair in pairs:
        assert all(check(prompts[pair["prompt"]], pair["chosen"]).strict)
        assert not all(check(prompts[pair["prompt"]], pair["rejected"]).strict)


def test_nothing_of_the_evaluation_is_trained_on() -> None:
    """Neither topics nor requests nor the words of the instructions, so no prompt of one is like one of the other."""
    ours, theirs = read_yaml(FOLDER / "words.yaml"), read_yaml(SCRIPTS / "instruction_prompts.yaml")
    categories = theirs["categories"]["en"].values()
    topics = {topic.lower() for item in categories for topic in item["topics"]}
    requests = {request for item in categories for request in item["requests"]}
    said = {entry["say"] for entries in theirs["instructions"]["en"].values() for entry in entries}
    assert not topics & {topic.lower() for topic in ours["topics"] + ours["plain_topics"]}
    assert not requests & set(ours["requests"] + ours["plain_requests"])
    assert not said & {entry["say"] for entries in ours["instructions"].values() for entry in entries}
    asked = {prompt.prompt for prompt in load_prompts()}
    assert not asked & {row["prompt"] for name in ("pairs.jsonl", "sft.jsonl") for row in rows(name)}
    assert not asked & set(ours["control"])


def test_files_are_those_that_the_words_make(make_data: ModuleType) -> None:
    assert rows("control.jsonl") == list(make_data.control())
    assert rows("unseen_kinds.jsonl") == list(make_data.unseen())
    for name in ("control.jsonl", "unseen_kinds.jsonl"):
        assert len(load_prompts(FOLDER / name)) >= 40
