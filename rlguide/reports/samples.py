"""Responses before and after a training, and held-out pairs that a run gets wrong, as rows of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlguide.data.inspect.examples import EARLIER, shortened
from rlguide.data.inspect.page import differences, titled
from rlguide.errors import DataError
from rlguide.evaluation.answers import PARENT, TUNED, read_answers
from rlguide.evaluation.comparison.record import HELD_OUT, Compared, texts_of
from rlguide.evaluation.scoring import scored_pairs
from rlguide.runs.record import Run

_SAMPLES, _WORST = 6, 3
_MOST_OF_A_PART = 4  # the others are left for other parts of the evaluation


def responses_of(run: Run) -> list[dict[str, Any]]:
    """Some of the responses that `rlguide eval` kept, before and after."""
    return [
        _row(item.prompt, ("before", item.responses[PARENT].text), ("after", item.responses[TUNED].text))
        for item in picked(read_answers(run.path))
    ]


def picked(responses: Sequence[Compared]) -> list[Compared]:
    """Responses whose wording differs, if there are any, from all over the list: not picked by who did better.

    Those to held-out prompts come first.
    """
    found: list[Compared] = []
    for source in sorted({item.source for item in responses}, key=lambda source: source != HELD_OUT):
        own = [item for item in responses if item.source == source]
        different = [item for item in own if len({*texts_of(item)}) > 1]
        found += _spread(different or own, min(_MOST_OF_A_PART, _SAMPLES - len(found)))
    return found


def _spread(items: Sequence[Compared], count: int) -> list[Compared]:
    number = min(count, len(items))
    return [items[at * len(items) // number] for at in range(number)]


def worst_of(run: Run) -> list[dict[str, Any]]:
    """The held-out pairs with the lowest margins, if those are below 0, as the last evaluation scored them."""
    try:
        pairs = scored_pairs(run)
    except DataError:
        return []
    return [
        {**_row(pair.prompt, ("chosen", pair.chosen), ("rejected", pair.rejected)), "margin": f"{pair.margin:+.4f}"}
        for pair in pairs[:_WORST]
        if pair.margin < 0
    ]


def _row(prompt: Sequence[dict[str, str]], left: tuple[str, str], right: tuple[str, str]) -> dict[str, Any]:
    *earlier, last = [(shortened(one["role"], EARLIER), one["content"]) for one in prompt]
    turns = [*((role, shortened(text, EARLIER)) for role, text in earlier), (last[0], shortened(last[1]))]
    texts = [shortened(text) for _, text in (left, right)]
    labels = (left[0], right[0])
    return {
        "title": titled(turns[-1][1]),
        "turns": turns,
        "responses": list(zip(labels, differences(*texts), strict=True)),
    }
