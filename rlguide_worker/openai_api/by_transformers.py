"""Responses by transformers: the settings, the prompts and the tokens are those of `rlguide chat`."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from generation import Model
from openai_api.turns import Dice, Turns

AT_ONCE = 8  # responses whose cache is in memory; the others wait for their place


class Transformers:
    """A policy of LLaMA-Factory's loader, its whole stack merged by it."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.model = Model(arguments)
        self.tokenizer, self.stops = self.model.tokenizer, self.model.stops
        self.device = str(self.model.model.device)
        self.context = getattr(self.model.model.config, "max_position_embeddings", None)
        self._turns = Turns()
        # Threads that stay: each has a team of OpenMP threads of its own, which takes time to start.
        self._pool = ThreadPoolExecutor(AT_ONCE)

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        """The tokens of a prompt."""
        return self.model.encode(messages)[0]

    async def tokens(self, prompt: list[int], settings: dict[str, Any], seed: int | None) -> AsyncIterator[list[int]]:
        """Yield the tokens of a response as they come, that which ends it included.

        Its place is free at the next token after the iteration was left.
        """
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any]()
        left = threading.Event()

        def put(item: Any) -> None:
            if not left.is_set():
                loop.call_soon_threadsafe(queue.put_nowait, item)

        job = self._pool.submit(self._respond, prompt, settings, seed, left, put)
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left.set()
            job.cancel()  # if it still waits for its place

    def close(self) -> None:
        """Nothing is left behind: the process ends at once."""

    def _respond(
        self, prompt: list[int], settings: dict[str, Any], seed: int | None, left: threading.Event,
        put: Callable[[Any], None],
    ) -> None:  # fmt: skip
        """Generate one response, in a thread of its own; its turn ends at each token."""
        self._turns.take()
        try:
            self._generate(prompt, settings, seed, left, put)
        except BaseException as error:
            import torch

            traceback.clear_frames(error.__traceback__)  # they hold tensors
            put(error)
            if isinstance(error, torch.OutOfMemoryError):
                torch.cuda.empty_cache()
        else:
            put(None)
        finally:
            self._turns.give()

    def _generate(
        self, prompt: list[int], settings: dict[str, Any], seed: int | None, left: threading.Event,
        put: Callable[[Any], None],
    ) -> None:  # fmt: skip
        import torch
        from transformers import StoppingCriteriaList

        def is_left(input_ids: Any, scores: Any, **_: Any) -> Any:
            return torch.full((input_ids.shape[0],), left.is_set(), device=input_ids.device, dtype=torch.bool)

        if left.is_set():
            return
        device = self.model.model.device
        dice = Dice(seed, device) if seed is not None else None
        inputs = torch.tensor([prompt], device=device)
        if dice:
            dice.begin()
        try:
            with torch.inference_mode():
                self.model.model.generate(
                    inputs=inputs,
                    attention_mask=torch.ones_like(inputs),
                    generation_config=self.model.generation_config(settings),
                    streamer=_Tokens(put, self._turns, dice),
                    stopping_criteria=StoppingCriteriaList([is_left]),
                )
        finally:
            if dice:
                dice.end()


class _Tokens:
    """What `generate` hands each new token to, between two steps."""

    def __init__(self, put: Callable[[Any], None], turns: Turns, dice: Dice | None) -> None:
        self._put, self._turns, self._dice = put, turns, dice
        self._is_prompt = True

    def put(self, value: Any) -> None:
        """Take the prompt (the first call), then one token a call."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._put(value.flatten().tolist())
        if self._dice:
            self._dice.end()
        self._turns.pass_on()
        if self._dice:
            self._dice.begin()

    def end(self) -> None:
        """Nothing is held back."""
