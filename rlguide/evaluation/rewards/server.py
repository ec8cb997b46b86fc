"""A server of LLaMA-Factory that holds a reward model: texts in, rewards out (`/v1/score/evaluation`)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from rlguide.errors import EngineError, UsageError
from rlguide.hub_settings import without_password

KEY = "RLGUIDE_API_KEY"  # the variable that holds the key, where the server asks for one
TIMEOUTS = (10.0, 600.0)  # seconds to connect, and without a byte: a batch of long texts on a CPU takes minutes
TRIES = 4
LARGEST = 16 << 20  # bytes of a response: rewards of a batch are some hundred


class ScoreServer:
    """A server that scores texts.

    Args:
        address: of the server, with or without `/v1` at its end.

    Raises:
        UsageError: it is not an address of http or https.
    """

    def __init__(self, address: str) -> None:
        self.address = address.strip().rstrip("/").removesuffix("/v1").rstrip("/")
        if not self.address.startswith(("http://", "https://")) or self.address.endswith(":"):
            raise UsageError(
                f"--endpoint {address} is not an address of http or https", "give for example http://127.0.0.1:8000/v1"
            )

    def scores(self, texts: Sequence[str], longest: int) -> list[float]:
        """The rewards of texts, in their order.

        Args:
            longest: tokens of the longest text; the server would cut at the positions of its model without a word.

        Raises:
            EngineError: the server cannot be reached, refuses, or gives something else; busy and failing servers are
                asked again some times.
        """
        body = {"model": "reward-model", "messages": list(texts), "max_length": longest}
        found = self._post("/v1/score/evaluation", body)
        scores = found.get("scores") if isinstance(found, dict) else None
        if not isinstance(scores, list) or len(scores) != len(texts):
            raise EngineError(f"{self._shown} gave no rewards", "check that it serves a reward model")
        return [_number(score) for score in scores]

    @property
    def _shown(self) -> str:
        return without_password(self.address)

    def _post(self, path: str, body: Any) -> Any:
        import requests

        key = os.environ.get(KEY)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for attempt in range(TRIES):
            is_last = attempt == TRIES - 1
            try:
                answer = requests.post(
                    self.address + path,
                    json=body,
                    headers=headers,
                    timeout=TIMEOUTS,
                    stream=True,
                    allow_redirects=False,
                )
                with answer:
                    raw = answer.raw.read(LARGEST + 1, decode_content=True)
            except (requests.RequestException, OSError, ValueError) as error:
                if is_last or isinstance(error, ValueError):
                    raise EngineError(
                        f"no answer from {self._shown} ({type(error).__name__})",
                        "start the server, or check its address; rewards that came are kept",
                    ) from None
                time.sleep(2**attempt)
                continue
            if answer.status_code in (429, 500, 502, 503, 504) and not is_last:
                time.sleep(2**attempt)
                continue
            return self._read(answer.status_code, raw)
        raise AssertionError("the last try returns or raises")

    def _read(self, status: int, raw: bytes) -> Any:
        if status in (401, 403):
            raise EngineError(f"{self._shown} wants a key ({status})", f"export {KEY}=... with the key of the server")
        if status in (404, 405):
            raise EngineError(f"{self._shown} does not score texts ({status})", "serve a reward model there")
        if status != 200:
            raise EngineError(f"{self._shown} failed ({status})", "look at what the server has logged")
        try:
            return json.loads(raw) if len(raw) <= LARGEST else None
        except (ValueError, RecursionError):
            return None


def _number(value: Any) -> float:
    """A reward; some versions of the engine give each one as a list."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
