"""What vLLM is handed by a server. vLLM itself needs a GPU, so a stand-in writes down what it gets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine
GENERATING = {
    **{"do_sample": True, "temperature": 0.95, "top_p": 0.7, "top_k": 50, "repetition_penalty": 1.0},
    "max_new_tokens": 1024,
}


@dataclass
class Arguments:
    """The part of vLLM's AsyncEngineArgs that is used, as of 0.10.0."""

    model: str
    trust_remote_code: bool
    dtype: str
    max_model_len: int | None
    tensor_parallel_size: int
    disable_log_stats: bool
    disable_log_requests: bool = False


class Engine:
    """The part of vLLM's AsyncLLMEngine that is used."""

    model_config = SimpleNamespace(max_model_len=99)
    asked: list[Any]

    @classmethod
    def from_engine_args(cls, arguments: Any) -> Engine:
        engine = cls()
        engine.asked = [arguments]
        return engine

    async def generate(self, prompt: dict[str, list[int]], how: Any, request_id: str) -> AsyncIterator[Any]:
        self.asked += [prompt, how]
        for tokens in ([5, 6], [7], [2]):
            yield SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(tokens))])


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Any:
    """by_vllm.py beside a stand-in of vLLM and of LLaMA-Factory's template."""
    vllm, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    for name, value in {
        "AsyncLLMEngine": Engine,
        "AsyncEngineArgs": Arguments,
        "SamplingParams": SimpleNamespace,
    }.items():
        setattr(vllm, name, value)
    parameters.RequestOutputKind = SimpleNamespace(DELTA="delta")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)

    def prompts(arguments: dict[str, Any]) -> Any:
        model_args = SimpleNamespace(
            model_name_or_path="merged", trust_remote_code=False, infer_dtype="auto",
            adapter_name_or_path=arguments.get("adapters"),
        )  # fmt: skip
        return SimpleNamespace(model_args=model_args, tokenizer=None, stops=[2], generating=dict(GENERATING))

    monkeypatch.setattr(worker_module("loaded"), "Prompts", prompts)
    return worker_module("openai_api.by_vllm").Vllm


def tokens(model: Any, settings: dict[str, Any], seed: int | None = None) -> list[list[int]]:
    async def collect() -> list[list[int]]:
        return [some async for some in model.tokens([1, 3], settings, seed)]

    return asyncio.run(collect())


def test_prompts_and_ends_are_those_of_the_template(worker: Any) -> None:
    model = worker({})
    assert tokens(model, {"temperature": 0.0, "max_new_tokens": 4}, seed=9) == [[5, 6], [7], [2]]
    given, prompt, how = model._engine.asked
    assert given.disable_log_requests
    assert (given.model, prompt, model.context) == ("merged", {"prompt_token_ids": [1, 3]}, 99)
    assert (how.temperature, how.max_tokens, how.seed, how.stop_token_ids, how.ignore_eos) == (0.0, 4, 9, [2], True)


def test_what_is_not_asked_for_is_as_in_chat(worker: Any) -> None:
    model = worker({})
    tokens(model, {"max_new_tokens": 4})
    how = model._engine.asked[-1]
    assert {key: getattr(how, key) for key in ("temperature", "top_p", "top_k", "repetition_penalty")} == {
        key: GENERATING[key] for key in ("temperature", "top_p", "top_k", "repetition_penalty")
    }


def test_a_stack_that_was_not_merged_is_refused(worker: Any) -> None:
    with pytest.raises(ValueError, match="one merged model"):
        worker({"adapters": ["sft", "dpo"]})
