"""The bundled prompts: of the form they should have, nobody else's, and none that cannot be followed."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.curate.language import language
from rlguide.data.example import Turn, prompt_key
from rlguide.errors import DataError
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.kinds import kinds, wrong_arguments
from rlguide.evaluation.instructions.prompts import InstructionPrompt, load_prompts
from tests.evaluation.instructions.responder import respond

ROOT = Path(__file__).parents[3]
PROMPTS = load_prompts()


def key(prompt: str) -> bytes:
    return prompt_key([Turn("human", prompt)])


def test_enough_of_both_languages_with_one_to_three_instructions() -> None:
    assert min(Counter(prompt.language for prompt in PROMPTS).values()) >= 300
    assert {prompt.language for prompt in PROMPTS} == {"en", "zh"}
    assert {len(prompt.instructions) for prompt in PROMPTS} == {1, 2, 3}
    assert len({prompt.id for prompt in PROMPTS}) == len({key(prompt.prompt) for prompt in PROMPTS}) == len(PROMPTS)


def test_every_kind_is_used_often_in_its_languages_and_in_no_other() -> None:
    used = Counter((item.kind, prompt.language) for prompt in PROMPTS for item in prompt.instructions)
    assert used.keys() == {(kind.name, code) for kind in kinds().values() for code in kind.languages}
    assert min(used.values()) >= 10


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.id)
def test_can_be_followed_and_says_what_is_asked(prompt: InstructionPrompt) -> None:
    assert language(prompt.prompt) == prompt.language
    response = respond(prompt)
    assert all(check(prompt, response).strict), response
    for item in prompt.instructions:
        assert len({other.kind for other in prompt.instructions}) == len(prompt.instructions)
        for name, value in item.arguments.items():
            said = [value] if not isinstance(value, list) else value
            # A language is named in words, and "exactly n" says once what is the least and the most.
            assert name == "language" or all(str(text) in prompt.prompt for text in said)


def test_none_is_in_the_data_of_the_demo() -> None:
    bundled = {key(prompt.prompt) for prompt in PROMPTS}
    rows = [
        json.loads(line)
        for file in (ROOT / "rlguide/demo/data").glob("*.jsonl")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    demo = {key(row.get("prompt", row.get("instruction"))) for row in rows}
    assert len(demo) > 1000 and not demo & bundled


def test_the_file_is_what_the_script_writes() -> None:
    """What is bundled can be made again, byte for byte."""
    spec = importlib.util.spec_from_file_location("make", ROOT / "scripts/make_instruction_prompts.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.bundled_rows())
    assert (ROOT / "rlguide/evaluation/instructions/prompts.jsonl").read_text(encoding="utf-8") == text


GOOD = {"id": "a", "language": "en", "prompt": "Say it.", "instructions": [{"kind": "json", "arguments": {}}]}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"instructions": []}, "no instruction"),
        ({"instructions": [{"kind": "rhyme", "arguments": {}}]}, "there is no kind 'rhyme'"),
        ({"instructions": [{"kind": "words", "arguments": {}}]}, "words needs at_least, at_most or both"),
        ({"instructions": [{"kind": "json"}]}, "is not a prompt with instructions"),
        ({"instructions": "json"}, "is not a prompt with instructions"),
        ({"language": "fr"}, "no language 'fr'"),
        (
            {"prompt": None, "instructions": [{"kind": "keywords", "arguments": {"words": []}}]},
            "words of keywords is no",
        ),
    ],
)
def test_refuses_a_row_that_is_wrong(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    file = tmp_path / "提示.jsonl"
    file.write_text(json.dumps(GOOD) + "\n\n" + json.dumps({**GOOD, **change}), encoding="utf-8")
    with pytest.raises(DataError, match="line 3") as refused:
        load_prompts(file)
    assert what in str(refused.value)


@pytest.mark.parametrize("content", ["{", "[1, 2", '"text"', "1"])
def test_refuses_a_file_that_is_wrong(tmp_path: Path, content: str) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text(content)
    with pytest.raises(DataError, match=r"wrong\.jsonl"):
        load_prompts(file)
    with pytest.raises(DataError, match="cannot read"):
        load_prompts(tmp_path / "missing.jsonl")


@pytest.mark.parametrize(
    ("kind", "arguments", "what"),
    [
        ("words", {"at_least": 5, "at_most": 4}, "at_least above at_most"),
        ("words", {"at_least": -1}, "no count"),
        ("words", {"at_least": True}, "no count"),
        ("words", {"at_least": 1, "number": 2}, "no argument 'number'"),
        ("letter_count", {"letter": "ab", "at_least": 1}, "no character"),
        ("letter_count", {"at_least": 1}, "needs the argument 'letter'"),
        ("language", {"language": "klingon"}, "no language"),
        ("keywords", {"words": ["a", " "]}, "no texts"),
        ("starts_with", {"phrase": ""}, "no text"),
    ],
)
def test_wrong_arguments_are_named(kind: str, arguments: dict[str, Any], what: str) -> None:
    assert what in wrong_arguments(kind, arguments)
