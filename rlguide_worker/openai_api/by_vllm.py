"""Responses by vLLM, which computes all requests together, where it is installed.

LLaMA-Factory's own vLLM backend takes only the first adapter of a stack; here the model is the whole stack, merged
before. Prompts and the tokens that end a response are those of LLaMA-Factory's template, as in training.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any


class Vllm:
    """A model folder without adapters, served by vLLM."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        import torch
        from loaded import Prompts
        from vllm import AsyncEngineArgs, AsyncLLMEngine

        self._prompts = Prompts(arguments)
        model_args = self._prompts.model_args
        if model_args.adapter_name_or_path:
            raise ValueError("vLLM is given one merged model, and this one has adapters")
        self.tokenizer, self.stops = self._prompts.tokenizer, self._prompts.stops
        self.device = "vLLM"
        # Up to 0.10.0 vLLM logs what is asked unless it is told not to, later only if it is told to.
        silent = {"disable_log_requests": True, "enable_log_requests": False}
        quiet = {name: value for name, value in silent.items() if name in AsyncEngineArgs.__dataclass_fields__}
        self._engine = AsyncLLMEngine.from_engine_args(
            AsyncEngineArgs(
                model=model_args.model_name_or_path,
                trust_remote_code=model_args.trust_remote_code,
                dtype=model_args.infer_dtype,
                max_model_len=None,
                tensor_parallel_size=torch.cuda.device_count() or 1,
                disable_log_stats=True,
                **quiet,
            )
        )
        self.context = self._engine.model_config.max_model_len

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        """The tokens of a prompt."""
        return self._prompts.encode(messages)[0]

    async def tokens(self, prompt: list[int], settings: dict[str, Any], seed: int | None) -> AsyncIterator[list[int]]:
        """Yield the tokens of a response as they come, that which ends it included; vLLM drops one that is left."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        values = {**self._prompts.generating, **settings}
        how = SamplingParams(
            max_tokens=values["max_new_tokens"],
            temperature=values["temperature"] if values["do_sample"] else 0.0,
            top_p=values["top_p"],
            top_k=values["top_k"] or -1,
            repetition_penalty=values["repetition_penalty"],
            seed=seed,
            stop_token_ids=self.stops,
            ignore_eos=True,  # only the template's tokens end a response, as with transformers
            detokenize=False,
            output_kind=RequestOutputKind.DELTA,
        )
        async for output in self._engine.generate({"prompt_token_ids": prompt}, how, f"chatcmpl-{uuid.uuid4().hex}"):
            yield list(output.outputs[0].token_ids)

    def close(self) -> None:
        """End vLLM's own processes."""
        self._engine.shutdown()
