"""The figures, charts and pairs as one HTML page that needs nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from rlguide.data.example import Example
from rlguide.data.inspect import bins
from rlguide.data.inspect.bins import Spread
from rlguide.data.inspect.examples import LONG, shortened, shown_responses, shown_turns
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.tables import tables
from rlguide.html.charts import Chart, Counts, histogram
from rlguide.html.render import render

if TYPE_CHECKING:
    from rlguide.data.inspect.collect import Collector

_PIECE = re.compile(r"[一-鿿぀-ヿ가-힯]|\w+|\s+|.", re.DOTALL)
ALIKE = 0.5  # share of words in common; with less, nearly everything would be marked, and nothing is
_COLOURS = {"prompt": 1, "chosen": 3, "response": 3, "rejected": 4, "equal": 5}  # of the stylesheet
OPENING = 110  # characters of the last prompt that a row is titled with

Pieces = list[tuple[bool, str]]  # of a text, each with whether it differs from the other text


def page(figures: Figures, charts: Sequence[Chart], examples: Sequence[tuple[int, Example]]) -> str:
    """The whole page; `charts` are those of `charts_of`."""
    source = figures.source
    origin = next((source[key] for key in ("hub_id", "file", "folder", "derived_from") if source.get(key)), None)
    return render(
        "inspect.html",
        title=shortened(figures.dataset),
        row_count=f"{figures.rows:,}",
        origin=None if origin is None else shortened(str(origin)),
        verdicts=[shortened(verdict) for verdict in figures.verdicts],
        command=shortened(figures.apply),
        charts=charts,
        tables=tables(figures),
        notes=figures.notes,
        rows=[_row(position, example) for position, example in examples],
    )


def charts_of(collector: Collector) -> list[Chart]:
    """Lengths, their differences and score margins, as far as there are any."""
    found = []
    if counted := bins.lengths(collector):
        series = [
            Counts(f"{item.label}, median {item.median:,.0f}", item.counts.tolist(), _COLOURS[item.label])
            for item in counted
        ]
        decades = range(round(math.log10(counted[0].edges[-1])) + 1)
        found.append(histogram("Length", series, [f"{10**power:,}" for power in decades], "characters"))
    return [*found, *map(_around_0, bins.spreads(collector).values())]


def _around_0(spread: Spread) -> Chart:
    counts, middle = spread.binned.counts.tolist(), len(spread.binned.counts) // 2
    parts = {  # below, at and above 0
        "rejected": [count if at < middle else 0 for at, count in enumerate(counts)],
        "equal": [count if at == middle else 0 for at, count in enumerate(counts)],
        "chosen": [count if at > middle else 0 for at, count in enumerate(counts)],
    }
    series = [Counts(name, values, _COLOURS[name], is_filled=True) for name, values in parts.items()]
    ends = [f"{sign * spread.reach:,.3g}" for sign in (-1, 1)]
    label = f"{spread.label}; median {spread.binned.median:,.3g}"
    return histogram(spread.title, series, (ends[0], "0", ends[1]), label)


def titled(prompt: str) -> str:
    """The beginning of a prompt, on one line."""
    words = " ".join(prompt.split())
    return words[:OPENING] + " …" * (len(words) > OPENING)


def _row(position: int, example: Example) -> dict[str, Any]:
    turns, responses = shown_turns(example), shown_responses(example)
    title = f"Row {position:,}: {titled(turns[-1][1])}"
    texts = [text for _, text in responses]
    pieces = differences(texts[0], texts[1]) if len(texts) == 2 else ([(False, texts[0])],)
    marked = [(label, part) for (label, _), part in zip(responses, pieces, strict=True)]
    return {"title": title, "turns": turns, "responses": marked}


def differences(chosen: str, rejected: str) -> tuple[Pieces, Pieces]:
    """Both texts in pieces, which differ word by word (Chinese: character by character) or not."""
    left, right = _PIECE.findall(chosen[: 2 * LONG]), _PIECE.findall(rejected[: 2 * LONG])
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    common = sum(not piece.isspace() for a, _, size in matcher.get_matching_blocks() for piece in left[a : a + size])
    words = sum(not piece.isspace() for piece in (*left, *right))
    if 2 * common < ALIKE * words:
        return [(False, chosen)], [(False, rejected)]
    sides: tuple[Pieces, Pieces] = ([], [])
    for kind, a, b, c, d in matcher.get_opcodes():
        for side, text in zip(sides, ("".join(left[a:b]), "".join(right[c:d])), strict=True):
            side.append((kind != "equal" and bool(text.strip()), text))
    return sides
