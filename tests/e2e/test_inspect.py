"""`rlguide inspect` with the tokenizer and template of a checkpoint."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import SFT, Bench

pytestmark = pytest.mark.engine


def test_tokens_of_an_sft_checkpoint_are_those_of_its_base(bench: Bench) -> None:
    documents = [
        json.loads(bench.run("inspect", "polite", "--json", "--model", model, *more).stdout)
        for model, more in ((SFT, ()), ("models/tiny", ("--template", "qwen3_nothink", "--cutoff-len", "40")))
    ]
    lora, base = (document["tokens"] for document in documents)
    assert lora["template"] == "qwen3_nothink"
    assert lora["lengths"] == base["lengths"]
    assert (lora["cutoff_len"], lora["cut"]["hits"]) == (2048, 0)
    longest = base["lengths"]["prompt + longer response"]
    assert base["cut"]["hits"] == (base["rows"] if longest["min"] > 40 else base["cut"]["hits"]) > 0
    assert any("cutoff_len 40" in verdict for verdict in documents[1]["verdicts"])
