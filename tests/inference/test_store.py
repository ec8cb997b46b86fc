"""The store of responses: a model is loaded only for what it has not responded to."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlguide.conversation import Ended, Message, Response
from rlguide.errors import EngineError
from rlguide.inference.store import FOLDER, stored_responses
from rlguide.remembered import remembered


class Echo:
    """Responds with the prompt, and breaks off after `patience` responses."""

    name = title = "echo"
    device = ""
    ended: Ended = "stop"

    def __init__(self, of: str = "x", patience: int = 99) -> None:
        self.of, self.patience, self.entered, self.asked = of, patience, 0, 0

    def identity(self) -> dict[str, Any]:
        return {"model": self.of}

    def __enter__(self) -> Echo:
        self.entered += 1
        return self

    def __exit__(self, *error: Any) -> None:
        pass

    def stream(self, messages: Sequence[Message], max_new_tokens: int, temperature: float | None = None) -> Any:
        raise NotImplementedError

    def responses(
        self, conversations: Sequence[Sequence[Message]], max_new_tokens: int
    ) -> Iterator[tuple[int, Response]]:
        for index, messages in reversed(list(enumerate(conversations))):
            if self.asked == self.patience:
                raise KeyboardInterrupt
            self.asked += 1
            yield index, Response(messages[-1]["content"][:max_new_tokens], "stop")


PROMPTS = [[{"role": "user", "content": text}] for text in ("apples", "pears", "梨", "apples")]
TEXTS = ["apples", "pears", "梨", "apples"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_what_is_stored_loads_no_model() -> None:
    assert [item.text for item in stored_responses(Echo(), PROMPTS, 9)] == TEXTS
    again = Echo()
    assert [item.text for item in stored_responses(again, PROMPTS, 9)] == TEXTS
    assert again.entered == 0
    for other, limit in ((Echo("y"), 9), (again, 2)):
        stored_responses(other, PROMPTS, limit)
        assert (other.entered, other.asked) == (1, 3)


def test_an_interruption_loses_nothing() -> None:
    with pytest.raises(KeyboardInterrupt):
        stored_responses(Echo(patience=2), PROMPTS, 9)
    rest = Echo()
    assert [item.text for item in stored_responses(rest, PROMPTS, 9)] == TEXTS
    assert rest.asked == 1


def test_a_store_that_holds_something_else_is_no_response() -> None:
    what = {**Echo().identity(), "max_new_tokens": 9}
    remembered(FOLDER, what, PROMPTS, lambda missing: ((place, {"text": 1}) for place in missing))
    with pytest.raises(EngineError, match="of another rlguide") as caught:
        stored_responses(Echo(), PROMPTS, 9)
    command = shlex.split(caught.value.fix.split("`")[1])
    subprocess.run(command, check=True)
    assert [item.text for item in stored_responses(Echo(), PROMPTS, 9)] == TEXTS
