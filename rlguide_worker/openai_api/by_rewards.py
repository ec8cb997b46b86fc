"""Rewards of texts, as `rlguide score` gives them to the same tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openai_api.requests import BadRequest


class Rewards:
    """A reward model with its whole stack and its value head."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        from score_responses import RewardModel

        self._model = RewardModel(arguments, arguments.pop("autocast", None))
        self.device = str(self._model.device)
        self.context = getattr(self._model.model.pretrained_model.config, "max_position_embeddings", None)
        self._thread = ThreadPoolExecutor(1)

    async def scores(self, texts: list[str], longest: int | None) -> list[float]:
        """The reward of each text, which is written by the template already; tokens beyond `longest` are cut off.

        Raises:
            BadRequest: one is longer than the model reads, and it was not said that it may be cut.
        """
        rows = await self._done(self._encode, texts, longest)
        most = max(map(len, rows))
        if self.context and most > self.context:
            raise BadRequest(
                f"the model reads at most {self.context} tokens, and a text has {most}",
                "messages",
                "context_length_exceeded",
            )
        if not min(map(len, rows)):
            raise BadRequest("a text has no token", "messages", "invalid_value")
        found: list[float] = []
        for row in rows:  # one after another: the reward of a text depends on no other, and a client that left is seen
            found += await self._done(self._model.rewards, [row])
        return found

    def _encode(self, texts: list[str], longest: int | None) -> list[list[int]]:
        return [self._model.tokenizer(text, add_special_tokens=False)["input_ids"][:longest] for text in texts]

    async def _done(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` returns, which is done beside the requests of others."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def close(self) -> None:
        """Nothing is left behind: the process ends at once."""
