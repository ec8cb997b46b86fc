"""How much disk a run is said to take."""

from __future__ import annotations

import pytest

from rlguide.recipes.disk import disk_need, saved_parameters

QWEN3_4B = {  # config.json of Qwen/Qwen3-4B
    "hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 9728, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True,
}  # fmt: skip


def test_parameters_are_those_of_the_model_and_of_its_adapter() -> None:
    """peft counts 33,030,144 in an adapter of rank 16; the model card says 4.0 billion."""
    assert saved_parameters({"lora_rank": 16}, QWEN3_4B) == 33_030_144
    assert saved_parameters({"finetuning_type": "full"}, QWEN3_4B) == pytest.approx(4.02e9, rel=0.005)


def test_a_full_tuning_takes_its_weights_and_moments_in_each_checkpoint() -> None:
    full = {"finetuning_type": "full", "save_total_limit": 2}
    assert disk_need(full, QWEN3_4B, 0) == pytest.approx(4 * 4.02e9 * 12, rel=0.01)
    assert disk_need({**full, "save_only_model": True}, QWEN3_4B, 0) == pytest.approx(4 * 4.02e9 * 4, rel=0.01)
    assert disk_need({"save_total_limit": 2}, QWEN3_4B, 0) < 2e9


def test_an_unknown_model_is_taken_for_a_large_one() -> None:
    assert saved_parameters({}, {}) == 100_000_000
    assert saved_parameters({"finetuning_type": "freeze"}, {}) == 8_000_000_000


@pytest.mark.parametrize(
    "hostile",
    [{"hidden_size": float("inf")}, {"num_hidden_layers": 10**400}, {"intermediate_size": -5}, {"vocab_size": [1]},
     {"num_attention_heads": 0}, {"head_dim": "wide"}, {"num_key_value_heads": -8}],
)  # fmt: skip
def test_sizes_that_no_model_has_are_as_good_as_unknown(hostile: dict[str, object]) -> None:
    assert saved_parameters({}, {**QWEN3_4B, **hostile}) == 100_000_000


def test_the_sizes_of_a_multimodal_model_are_those_of_its_language_model() -> None:
    assert saved_parameters({"lora_rank": 16}, {"model_type": "seen", "text_config": QWEN3_4B}) == 33_030_144
