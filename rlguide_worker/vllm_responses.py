"""Greedy responses by vLLM, for many prompts, where it is installed and a GPU is there.

vLLM takes one adapter a request; LLaMA-Factory hands its own vLLM backend only the first of a stack. LLaMA-Factory's
loader for inference has merged the whole stack by then, so the merged weights are what vLLM is given, in a folder that
lasts as long as the answering.
"""

import importlib.util
import tempfile

CHUNK = 128  # prompts whose responses are handed on together: what an interruption can lose
SHARE = 0.85  # of the GPU's memory, for weights and cache


def usable(loaded):
    """Whether vLLM can run this model: it and a GPU are there, and the stack is one plain model (a quantized base keeps
    its adapters beside it)."""
    import torch

    is_plain = not hasattr(loaded.model, "peft_config") and not getattr(loaded.model, "is_quantized", False)
    return is_plain and torch.cuda.is_available() and importlib.util.find_spec("vllm") is not None


def responses(loaded, prompts, max_new_tokens):
    """Yield (place, tokens without the one that ends it) of each prompt, a list of tokens.

    The loaded model is moved to the main memory, so that vLLM has the GPU.
    """
    import torch
    from vllm import LLM, SamplingParams

    with tempfile.TemporaryDirectory(prefix="rlguide-merged-") as folder:
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        loaded.model.to("cpu")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        engine = LLM(
            model=folder,
            dtype=str(loaded.model.dtype).removeprefix("torch."),
            max_model_len=max(map(len, prompts)) + max_new_tokens,
            gpu_memory_utilization=SHARE,
        )
        how = SamplingParams(temperature=0.0, max_tokens=max_new_tokens, stop_token_ids=loaded.stops)
        for start in range(0, len(prompts), CHUNK):
            asked = [{"prompt_token_ids": ids} for ids in prompts[start : start + CHUNK]]
            for place, output in enumerate(engine.generate(asked, how, use_tqdm=False), start=start):
                tokens = list(output.outputs[0].token_ids)
                yield place, tokens[: loaded.end_of(tokens)]
