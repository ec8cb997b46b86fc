"""A comparison of models as one page: what they come to, then every prompt with the responses beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.data.inspect.examples import EARLIER, shortened
from rlguide.data.inspect.page import titled
from rlguide.evaluation.comparison.compare import Comparison, resolution
from rlguide.evaluation.comparison.figures import POINTS
from rlguide.evaluation.comparison.measures import Measures, apart
from rlguide.evaluation.comparison.record import Compared, texts_of
from rlguide.evaluation.comparison.screen import marked_of
from rlguide.evaluation.lines import Line
from rlguide.html.render import render
from rlguide.reports.page import check_own
from rlguide.workspace import atomic_write

PAGE = "comparison.html"
# An interval is drawn in a box of 100: 0 in its middle, and so far to either side.
_HALF = 48
_MARKS = {True: "up", False: "down", None: ""}
_NOTES = {"loops": "loop", "refuses": "refusal", "switches": "language switch", "empty": "empty", "cut": "cut"}


@dataclass(frozen=True)
class _Row:
    """A figure as a row of the table, its texts."""

    name: str
    unit: str
    first: str
    value: str
    difference: str
    interval: tuple[str, str] | None
    mark: str
    box: Mapping[str, float] | None


@dataclass(frozen=True)
class Preferred:
    """What a judge or people prefer of a model against another one.

    Attributes:
        by: who: "judge" or "votes".
        rows: figures, values and intervals.
    """

    model: str
    other: str
    by: str
    rows: Sequence[tuple[str, str, str]]
    sentences: Sequence[str]


def write_comparison(found: Comparison, language: str = "en", preferences: Sequence[Preferred] = ()) -> Path:
    """Write `comparison.html` into the folder of the comparison; returns the file.

    Raises:
        UsageError: there is something else than a page of rlguide.
        RlguideError: it cannot be written.
    """
    path = found.folder / PAGE
    check_own(path)
    page = comparison_page(found, language, preferences).encode("utf-8", "replace")
    with atomic_write(path, "wb") as file:
        file.write(page)
    return path


def comparison_page(found: Comparison, language: str = "en", preferences: Sequence[Preferred] = ()) -> str:
    """The page."""
    return render(
        "compare.html",
        language,
        title=" / ".join(found.titles),
        titles=found.titles,
        verdicts=found.verdicts,
        resolution=resolution(len(found.records)),
        count=len(found.records),
        limit=found.max_new_tokens,
        tables=[(item, [_row_of(line) for line in item.lines]) for item in found.against],
        rows=[
            _prompt_of(record, {name: every[at] for name, every in found.measures.items()})
            for at, record in enumerate(found.records)
        ],
        preferences=preferences,
        file=found.file.name,
        version=__version__,
        now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )


def _row_of(line: Line) -> _Row:
    is_share = line.unit == POINTS
    scale, plain = (100, "{:.1f} %") if is_share else (1, f"{{:.{line.digits}f}}")
    signed = "{:+.1f}" if is_share else f"{{:+.{line.digits}f}}"
    low, value, high = (scale * part for part in (line.difference.low, line.difference.value, line.difference.high))
    first, own = plain.format(scale * line.parent), plain.format(scale * line.tuned)
    ends = (signed.format(low), signed.format(high)) if line.interval else None
    unit = "" if is_share else line.unit
    box = _drawn(low, value, high) if ends else None
    return _Row(line.name, unit, first, own, signed.format(value), ends, _MARKS[line.is_better], box)


def _drawn(low: float, value: float, high: float) -> dict[str, float]:
    reach = max(abs(low), abs(high)) or 1.0
    return {name: round(50 + _HALF * end / reach, 2) for name, end in (("low", low), ("value", value), ("high", high))}


def _prompt_of(record: Compared, measures: Mapping[str, Measures]) -> dict[str, Any]:
    *earlier, last = [(shortened(one["role"], EARLIER), one["content"]) for one in record.prompt]
    turns = [*((role, shortened(text, EARLIER)) for role, text in earlier), (last[0], shortened(last[1]))]
    marked = marked_of([shortened(text) for text in texts_of(record)])
    return {
        "title": titled(turns[-1][1]),
        "source": record.source,
        "turns": turns,
        "apart": round(apart(texts_of(record)), 3),
        "length": max(item.length for item in measures.values()),
        "responses": [
            (
                name,
                pieces,
                measures[name].length,
                [words for key, words in _NOTES.items() if getattr(measures[name], key)],
            )
            for name, pieces in zip(record.models, marked, strict=True)
        ],
    }
