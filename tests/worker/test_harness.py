"""A model as lm-evaluation-harness sees it: its prompts, and batches that do not fit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine


@pytest.fixture
def harness() -> Any:
    """One without a model; its tokens are characters."""
    module = worker_module("harness")
    found = object.__new__(module.Harness)
    found.batch_size_per_gpu = 8
    found.tokenizer = SimpleNamespace(decode=lambda ids, **_: "".join(map(chr, ids)))
    found.tok_encode = lambda text: [ord(character) for character in text]
    found.loaded = SimpleNamespace(encode=encode)
    found.begin("task")
    return found


def encode(messages: list[dict[str, str]]) -> tuple[list[int], list[int]]:
    """A template: roles by their first letter, then what begins a response."""
    text = "".join(f"<{message['role'][0]}>{message['content']}" for message in messages)
    return [ord(character) for character in f"{text}<a>"], []


TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "1 + 1 ="},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "2 + 2 ="},
]


def test_prompts_are_written_by_the_template(harness: Any) -> None:
    assert harness.apply_chat_template(TURNS) == "<s>Be brief.<u>1 + 1 =<a>2<u>2 + 2 =<a>"
    begun = [*TURNS, {"role": "assistant", "content": "It is"}]
    assert harness.apply_chat_template(begun, add_generation_prompt=False).endswith("<u>2 + 2 =<a>It is")
    assert len(begun) == 5
    assert harness.counts["retokenized"] == 0
    harness.tok_encode = lambda text: [1]
    harness.apply_chat_template(TURNS)
    assert harness.counts["retokenized"] == 1


def test_a_batch_that_does_not_fit_is_halved(harness: Any, torch: Any) -> None:
    tried = []

    def method(requests: list[str], disable_tqdm: bool) -> list[str]:
        tried.append(harness.batch_size_per_gpu)
        harness.counts["cut"] += 1
        if harness.batch_size_per_gpu > 2:
            raise torch.OutOfMemoryError
        return requests

    assert harness.run(["a", "b"], method) == ["a", "b"]
    assert tried == [8, 4, 2]
    assert harness.counts == {"prompts": 2, "cut": 1, "retokenized": 0}  # nothing counts twice
    harness.batch_size_per_gpu = 1

    def never(requests: list[str], disable_tqdm: bool) -> list[str]:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        harness.run(["a"], never)
