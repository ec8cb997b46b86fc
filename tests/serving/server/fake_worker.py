"""The worker of `rlguide serve` with a model that is none: it spells what it is asked, at the speed it is asked for."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "rlguide_worker"))

END = 3  # the token that ends a response


class Spelling:
    """Tokens are characters."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(chr(one) for one in ids if one != END)


class Speller:
    """Says `<what the user said>`, a character a token; some words make it fail."""

    tokenizer, stops, context, device = Spelling(), [END], 4000, "nowhere"

    def __init__(self, args: dict[str, Any]) -> None:
        if "fails" in args:
            raise RuntimeError(args["fails"])
        time.sleep(args.get("loads", 0))
        self.pace = 0.01
        self.now = 0

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        text = messages[-1]["content"]
        if text == "long":
            time.sleep(2)
        if text.startswith("<image>"):
            raise ValueError(f"no image was given with {text}")
        return [ord(letter) for letter in text]

    async def tokens(self, prompt: list[int], settings: dict[str, Any], seed: int | None) -> AsyncIterator[list[int]]:
        text = "".join(map(chr, prompt))
        if text == "crash":
            os._exit(7)
        if text == "broken":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        for place, token in enumerate([*prompt, END][: settings["max_new_tokens"]]):
            if text == "fail" and place == 2:
                raise RuntimeError("the text of the user must not be told")
            await asyncio.sleep(self.pace)
            yield [token]

    def close(self) -> None:
        pass


def main() -> None:
    import serve

    serve.load = lambda asked: {"policy": Speller(asked["args"])}
    serve.main()


if __name__ == "__main__":
    main()
