"""A server of LLaMA-Factory that holds a reward model: texts in, rewards out (`/v1/score/evaluation`)."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rlguide.console import say
from rlguide.errors import EngineError
from rlguide.inference.address import parse_address
from rlguide.inference.calls import call
from rlguide.statistics import finite

if TYPE_CHECKING:
    from rlguide.inference.wire import Caller

_PATH = "/score/evaluation"
_NO_SCORES = ("HTTP 404", "HTTP 405")  # of a server without rewards; of LLaMA-Factory's, where it holds a policy


class ScoreServer:
    """A server that scores texts.

    Args:
        address: of the server, with or without `/v1` at its end.

    Raises:
        UsageError: it is not an address of http or https.
    """

    def __init__(self, address: str) -> None:
        self._address = parse_address(address)
        self.address = self._address.url

    def scores(self, texts: Sequence[str], longest: int) -> list[float]:
        """The rewards of texts, in their order.

        Args:
            longest: tokens of the longest text; the server would cut at the positions of its model without a word.

        Raises:
            EngineError: the server cannot be reached, refuses, or gives something else; busy and failing servers are
                asked again some times.
        """
        body = {"model": self._address.model or "reward-model", "messages": list(texts), "max_length": longest}

        def job(caller: Caller) -> Iterator[Any]:
            yield caller.ask("POST", _PATH, body)

        found: Any = None
        for _, found in call([job], self._caller, 1):
            if isinstance(found, EngineError) and any(code in found.what for code in _NO_SCORES):
                raise EngineError(f"{self.address} does not score texts", "serve the reward model: `rlguide serve RUN`")
            if isinstance(found, BaseException):
                raise found
        scores = found.get("scores") if isinstance(found, dict) else None
        if not isinstance(scores, list) or len(scores) != len(texts):
            raise EngineError(
                f"{self.address} gave no rewards", "check that it serves a reward model, as `rlguide serve RUN` does"
            )
        return [_number(score) for score in scores]

    def _caller(self, stopped: threading.Event) -> Caller:
        from rlguide.inference.wire import Caller, Limits

        return Caller(self._address, Limits(), stopped, say)


def _number(value: Any) -> float:
    """A reward, or NaN, which is none; some versions of the engine may give each one as a list."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = finite(value)
    return math.nan if found is None else found
