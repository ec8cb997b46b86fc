"""The store of responses: what a model has responded to a prompt before, it is not asked again.

It lies in the user's cache (`rlguide.remembered`), for every command that asks a model greedily: eval, compare, judge.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from rlguide.console import progress
from rlguide.conversation import Message, Response, response_of
from rlguide.errors import EngineError
from rlguide.inference.model import Model
from rlguide.remembered import remembered, some_remembered
from rlguide.workspace import user_cache

FOLDER = "responses"


def stored_responses(
    model: Model, conversations: Sequence[Sequence[Message]], max_new_tokens: int, doing: str = "responding"
) -> list[Response]:
    """A model's greedy responses to the conversations, in their order; it is loaded only where one is missing.

    Each is kept as it comes, so an interruption loses none.

    Args:
        model: not entered yet.
        doing: what the progress bar says.

    Raises:
        EngineError: the model failed, or the store holds something else.
    """
    asked = [list(messages) for messages in conversations]
    what = _decides(model, max_new_tokens)

    def ask(missing: list[int]) -> Iterator[tuple[int, Any]]:
        with model, progress("responses") as bar:
            task = bar.add_task(doing, total=len(asked), completed=len(asked) - len(missing))
            for index, response in model.responses([asked[at] for at in missing], max_new_tokens):
                bar.advance(task)
                yield missing[index], response.as_dict()

    found = [response_of(value) for value in remembered(FOLDER, what, asked, ask)]
    whole = [response for response in found if response is not None]
    if len(whole) < len(found):
        folder = shlex.quote(str(user_cache() / FOLDER))
        raise EngineError("some stored responses are of another rlguide", f"remove them: `rm -r {folder}`")
    return whole


def known_responses(
    model: Model, conversations: Sequence[Sequence[Message]], max_new_tokens: int
) -> list[Response | None]:
    """The stored responses, in the order of the conversations; None for what the model would have to be asked now."""
    asked = [list(messages) for messages in conversations]
    found = some_remembered(FOLDER, _decides(model, max_new_tokens), asked, lambda missing: ())
    return [response_of(found.get(place)) for place in range(len(asked))]


def _decides(model: Model, max_new_tokens: int) -> dict[str, Any]:
    return {**model.identity(), "max_new_tokens": max_new_tokens}
