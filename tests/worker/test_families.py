"""Models of many families, as transformers builds them: none of them asks for full logits to score a response."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.engine
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 150,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "qwen2": {},
    "qwen3": {"tie_word_embeddings": True},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
    "gemma": {},
    "gemma2": {"query_pre_attn_scalar": 8},  # tanh of its logits
    "gemma3_text": {"query_pre_attn_scalar": 8},
    "glm": {},
    "glm4": {},
    "phi3": {},
    "cohere": {},  # scales its logits
    "granite": {"logits_scaling": 3.0},
    "olmo2": {},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_full_logits(torch: Any, lazy_logits: Any, family: str) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SHAPE, **FAMILIES[family])).train()
    ids = torch.randint(3, 150, (2, 24))
    labels = ids.clone()
    labels[:, :9] = -100
    lazy_logits.CHUNK_BYTES = 1
    lazy_logits.asked_in_full.clear()
    found = []
    for is_lazy in (False, True):
        model.zero_grad()
        if is_lazy:
            with lazy_logits.lazy_head(model, labels):
                logits = model(input_ids=ids, use_cache=False).logits
            assert isinstance(logits, lazy_logits.Logits)
        else:
            logits = model(input_ids=ids, use_cache=False).logits
        logits, targets = logits.to(torch.float32)[:, :-1, :], labels[:, 1:]
        picked = torch.gather(logits.log_softmax(-1), 2, targets.clamp(min=0).unsqueeze(2)).squeeze(2)
        value = (picked * (targets != -100)).sum()
        value.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
        found.append((value.detach(), gradient, logits.mean().detach()))
    for plain, lazy in zip(*found, strict=True):
        torch.testing.assert_close(lazy, plain, rtol=1e-4, atol=1e-4)
    assert not lazy_logits.asked_in_full
