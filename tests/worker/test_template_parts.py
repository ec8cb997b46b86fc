"""The templates of the usual families as texts: a server that renders them gets the tokens of training."""

from __future__ import annotations

from typing import Any

import pytest

from tests.worker.conftest import worker_module

pytestmark = pytest.mark.engine

SPECIAL = [
    *("<s>", "</s>", "<unk>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_sep|>", "<eos>", "<bos>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>", "[INST]"),
    *(
        "[/INST]",
        "<think>",
        "</think>",
        "<｜User｜>",
        "<｜Assistant｜>",
        "[gMASK]",
        "<sop>",
        "<|user|>",
        "<|assistant|>",
    ),
]
FAMILIES = [
    *("qwen", "qwen3", "qwen3_nothink", "chatml", "smollm2", "llama3", "gemma", "gemma2", "gemma3", "mistral"),
    *("deepseek", "deepseek3", "deepseekr1", "phi4", "glm4", "yi", "alpaca", "default"),
]
SYSTEM_IN_USER = {"gemma", "gemma2", "gemma3", "mistral"}
CONVERSATIONS = [
    [("user", "Name three fruits.")],
    [("user", " 你好\n"), ("assistant", "Hello, how can I help?"), ("user", "1 + 1 = ?")],
    [("system", "Answer in one word."), ("user", "What?"), ("assistant", "It."), ("user", "Why?")],
]


def tokenizer(begins: bool) -> Any:
    """One of bytes, with the special tokens of all families; `begins`: it puts <s> before every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    if begins:
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("thinks", [True, False])
def test_all_of_the_text_gives_the_tokens_of_training(name: str, begins: bool, thinks: bool) -> None:
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments

    module, own = worker_module("template_parts"), tokenizer(begins)
    template = get_template_and_fix_tokenizer(own, DataArguments(template=name, enable_thinking=thinks))
    has_first = template.format_prefix.apply() == [{"bos_token"}]
    if begins and not has_first:
        with pytest.raises(ValueError, match="do not begin with one token"):
            module.parts_of(template, own)
        return
    parts = module.parts_of(template, own, 2048)
    assert parts["system_in_user"] is (name in SYSTEM_IN_USER)
    assert parts["prefix"].startswith("<s>") is (has_first and not begins)
    assert bool(parts["thought"]) is (not thinks and name in ("qwen3", "deepseekr1"))
    assert own.eos_token in parts["stops"]
    assert "None" not in parts["stops"] and None not in parts["stops"] and "<unk>" not in parts["stops"]
    for turns in CONVERSATIONS:
        system = "".join(text for role, text in turns if role == "system")
        messages = [{"role": role, "content": text} for role, text in turns if role != "system"]
        prompt, _ = template.encode_oneturn(own, [*messages, {"role": "assistant", "content": ""}], system or None)
        assert module.tokens(parts, turns, own) == prompt
