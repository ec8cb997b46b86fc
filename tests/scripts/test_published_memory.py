"""The measurements that plans are held against say enough to be simulated, and are possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.gpus import gpu_models
from rlguide.catalog.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = read_yaml(ROOT / "scripts/published_memory.yaml")
ROWS = PUBLISHED["measurements"]
# Parameters by the models' own cards, in millions.
CARDS = {
    "qwen2.5-0.5b": 494,
    "qwen2.5-1.5b": 1544,
    "qwen2.5-3b": 3086,
    "qwen2.5-7b": 7616,
    "qwen-1.8b": 1837,
    "qwen-7b": 7721,
    "qwen-14b": 14167,
    "mistral-7b-v0.1": 7242,
    "llama-3.1-8b": 8030,
    "llama-2-13b": 13016,
    "phi-3-mini": 3821,
    "gemma-7b": 8538,
    "gemma-2-9b": 9242,
    "gemma-2-2b": 2614,
    "tinyllama-1.1b": 1100,
    "smollm2-135m": 134.5,
    "smollm2-1.7b": 1711,
    "llama-160m": 162,
}


def parameters(config: dict[str, Any]) -> float:
    """Weights of the matrices, without norms and biases."""
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head = config.get("head_dim", width // heads)
    layer = 2 * width * head * (heads + config["num_key_value_heads"]) + 3 * width * config["intermediate_size"]
    embeddings = width * config["vocab_size"] * (1 if config["tie_word_embeddings"] else 2)
    return float(layer * config["num_hidden_layers"] + embeddings)


@pytest.mark.parametrize("name", PUBLISHED["models"])
def test_shapes_give_the_parameters_of_the_models_card(name: str) -> None:
    assert parameters(PUBLISHED["models"][name]) / 1e6 == pytest.approx(CARDS[name], rel=0.005)


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_measurement_is_complete_and_possible(row: dict[str, Any]) -> None:
    assert row["source"] in PUBLISHED["sources"] and row["model"] in PUBLISHED["models"]
    assert row["method"] in ("sft", "dpo") and row["tuning"] in ("lora", "full") and row["quantized"] in (None, 4, 8)
    assert (row["tuning"] == "lora") == ("rank" in row)
    assert row["measured_as"] in ("allocated", "reserved", "device", "not said")
    assert row["gpu"] is None or row["measured_gib"] * 2**30 < gpu_models()[row["gpu"]].memory_bytes
    assert isinstance(row["checkpointing"], bool) and isinstance(row["uncertain"], str)
    # It holds its weights and, where all are trained, their gradients and both moments, and some of the activations.
    each = 0.5 if row["quantized"] == 4 else 2
    if row["tuning"] == "full":
        each = 8 if row.get("pure_bf16") else 16
    assert parameters(PUBLISHED["models"][row["model"]]) * each < row["measured_gib"] * 2**30
    for larger in ("reserved_gib", "device_gib"):
        assert row.get(larger, 99) > row["measured_gib"]


def test_there_are_enough_of_each_kind() -> None:
    allocated = [row for row in ROWS if row["measured_as"] == "allocated"]
    assert len(allocated) >= 12
    assert {row["quantized"] for row in allocated} == {None, 4}
    assert {row["checkpointing"] for row in allocated} == {True, False}
    assert {row["tuning"] for row in allocated} == {"lora", "full"}


def test_the_docs_list_each_with_what_was_measured() -> None:
    text = (ROOT / "docs/planner.md").read_text(encoding="utf-8")
    for row in ROWS:
        assert f"| {row['id']} | {row['model']} |" in text
        assert f"| {row['measured_gib']:g} | {row['measured_as']} |" in text
