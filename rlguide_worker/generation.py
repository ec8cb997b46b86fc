"""A loaded policy that generates: its prompts within its length, its settings, and its tokens as whole characters."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from loaded import Loaded


class Model(Loaded):
    """A policy that responds to one request at a time."""

    @functools.cached_property
    def parameters(self) -> int:
        """How many the model has."""
        return sum(weight.numel() for weight in self.model.parameters())

    def encode_within(self, messages: list[dict[str, str]], room: int) -> tuple[list[int], int]:
        """Like `encode`, leaving out the oldest turns until `room` new tokens fit; also how many were left out."""
        limit = getattr(self.model.config, "max_position_embeddings", None) or 1 << 30
        first = 1 if messages[0]["role"] == "system" else 0
        dropped = 0
        ids, _ = self.encode(messages)
        while len(ids) + room > limit and len(messages) - first > 2:
            messages = messages[:first] + messages[first + 2 :]
            dropped += 2
            ids, _ = self.encode(messages)
        return ids, dropped

    def generation_config(self, settings: dict[str, Any]) -> Any:
        """The engine's defaults, changed by `settings`; temperature 0 means greedy decoding."""
        from transformers import GenerationConfig

        known = {key: value for key, value in settings.items() if value is not None}
        values = {**self.generating, **known, "eos_token_id": self.stops, "pad_token_id": self.tokenizer.pad_token_id}
        values.pop("skip_special_tokens", None)
        if not values.get("temperature"):
            for key in ("temperature", "top_p", "top_k"):
                values.pop(key, None)
            values["do_sample"] = False
        return GenerationConfig(**values)


class Pieces:
    """What `generate` hands each new token to; sends the text on as soon as its characters are whole.

    (The streamer of transformers holds text back to the next space, which Chinese text does not have.)
    """

    def __init__(self, tokenizer: Any, show: Callable[[str], None]) -> None:
        self.tokenizer, self.send = tokenizer, show
        self.ids: list[int] = []
        self.shown = ""
        self.is_prompt = True

    def put(self, value: Any) -> None:
        """Take the prompt (the first call, not shown), then one token a call."""
        if self.is_prompt:
            self.is_prompt = False
            return
        self.add(value.flatten().tolist())

    def add(self, tokens: list[int]) -> None:
        """Take tokens of the response."""
        self.ids += tokens
        text = self.text()
        if not text.endswith("\ufffd"):  # the first bytes of a character that is not whole yet
            self.show(text)

    def end(self) -> None:
        """Send what is left."""
        self.show(self.text())

    def text(self) -> str:
        """The text of the current line."""
        return self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def show(self, text: str) -> None:
        """Send what is new; a line that has ended need not be decoded again."""
        if text[len(self.shown) :]:
            self.send(text[len(self.shown) :])
        self.shown = text
        if text.endswith("\n"):
            self.ids, self.shown = [], ""
