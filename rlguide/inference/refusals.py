"""What an endpoint says when it refuses a request, in two lines and without the key that it was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from rlguide.engine.server import KEY as OWN_KEY
from rlguide.errors import EngineError
from rlguide.inference.address import OPENAI_KEY
from rlguide.inference.completion import fault_in

LEFT_OUT = "(key left out)"
_LONGEST = 300  # characters of what the endpoint says that are shown
_RUN = 6  # characters of a key that are not shown, whatever stands between them
_WITHOUT_SIGNS = re.compile(r"[^A-Za-z0-9]")


class Refused(EngineError):
    """The endpoint refuses this one request (400, 413, 422); others may go through.

    Attributes:
        named: the parameter and the code that it names.
    """

    def __init__(self, what: str, fix: str, named: str) -> None:
        super().__init__(what, fix)
        self.named = named


@dataclass(frozen=True, repr=False)
class Refusals:
    """Of the endpoint at an address, which was sent this key."""

    url: str
    key: str | None

    def of_status(self, status: int, said: str, named: str) -> EngineError:
        """What a status means that another try does not help.

        Args:
            said, named: of `shown`.
        """
        url, fault = self.url, f"HTTP {status}"
        if 300 <= status < 400:
            return EngineError(
                f"{url} redirects ({fault})", "name the address that it redirects to, up to and with /v1"
            )
        if status in (401, 403):
            held = "the key is refused" if self.key else "a key is needed"
            return EngineError(f"{url}: {held} ({fault})", f"set {OWN_KEY} or {OPENAI_KEY} in the environment")
        if status == 404:
            return EngineError(
                f"{url} has no such path or model ({fault}{said})", f"see which it has: `curl {url}/models`"
            )
        if status in (400, 413, 422):
            return Refused(f"{url} refuses a request ({fault}{said})", "shorten the prompt, or leave it out", named)
        return EngineError(f"{url} refuses ({fault}{said})", "look at its log, or name another endpoint")

    def shown(self, body: Any) -> tuple[str, str]:
        """What the body of an error says, and the parameter and code that it names; "" where that is nothing.

        What holds a part of the key is left out whole: OpenAI repeats its ends, and a hostile endpoint what it likes.
        """
        said, named = fault_in(body)
        if not said:
            return "", named
        if self._holds_key(said):
            return ": what it says repeats the key and is left out", named
        said = " ".join(said.split())
        return f": {said[:_LONGEST]}{' ...' if len(said) > _LONGEST else ''}", named

    def without_key(self, text: str) -> str:
        """A text that the endpoint sent, without the key."""
        return text.replace(self.key, LEFT_OUT) if self.key and len(self.key) >= _RUN else text

    def _holds_key(self, text: str) -> bool:
        if not self.key:
            return False
        bare, key = (_WITHOUT_SIGNS.sub("", value).lower() for value in (text, self.key))
        runs = [key[at : at + _RUN] for at in range(max(1, len(key) - _RUN + 1))]
        return self.key in text or any(run and (run in bare or run[::-1] in bare) for run in runs)
