"""What vLLM is handed. vLLM itself needs a GPU, so transformers stands in for it: the stack must not lose a part."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine
PROMPTS = [[5, 6, 7], [8, 9], [5, 9, 9, 6]]


class StandIn:
    """The part of vLLM's LLM that is used."""

    def __init__(self, model: str, dtype: str, max_model_len: int, gpu_memory_utilization: float) -> None:
        from transformers import AutoModelForCausalLM

        assert max_model_len >= max(map(len, PROMPTS))
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, torch_dtype=dtype)

    def generate(self, asked: list[dict[str, list[int]]], how: Any, use_tqdm: bool) -> list[Any]:
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(self._tokens(one["prompt_token_ids"], how)))])
            for one in asked
        ]

    def _tokens(self, ids: list[int], how: Any) -> list[int]:
        import torch

        assert how.temperature == 0.0
        output = self.model.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, pad_token_id=0,
            max_new_tokens=how.max_tokens, eos_token_id=how.stop_token_ids,
        )  # fmt: skip
        return list(output[0, len(ids) :].tolist())


@pytest.fixture
def merged(torch: Any) -> Any:
    """A stack as LLaMA-Factory loads it for inference: an adapter with weights, merged."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Qwen3Config

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, eos_token_id=3,
    )  # fmt: skip
    stack = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(r=4, target_modules="all-linear"))
    for name, weight in stack.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    return stack.merge_and_unload().eval()


def test_responses_are_those_of_the_whole_stack(merged: Any, torch: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = StandIn, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    worker = worker_module("vllm_responses")
    own: list[list[int]] = []
    for ids in PROMPTS:
        output = merged.generate(
            torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), do_sample=False, pad_token_id=0,
            max_new_tokens=8, eos_token_id=-1,
        )  # fmt: skip
        own.append(output[0, len(ids) :].tolist())
    stop = own[0][4]  # the engine's word for the end of an answer may be any token
    ends = [row.index(stop) if stop in row else len(row) for row in own]
    loaded = SimpleNamespace(
        model=merged,
        tokenizer=SimpleNamespace(save_pretrained=lambda folder: Path(folder, "tokenizer.json").touch()),
        stops=[stop],
        end_of=lambda row: row.index(stop) if stop in row else len(row),
    )
    found = dict(worker.responses(loaded, PROMPTS, 8))
    assert [found[place] for place in range(3)] == [row[:end] for row, end in zip(own, ends, strict=True)]
    assert len(set(map(tuple, own))) > 1


def test_is_not_used_without_a_gpu_or_with_adapters_beside_the_weights(merged: Any, torch: Any) -> None:
    worker = worker_module("vllm_responses")
    assert not worker.usable(SimpleNamespace(model=SimpleNamespace(peft_config={})))
    if not torch.cuda.is_available():
        assert not worker.usable(SimpleNamespace(model=merged))
