"""The figures, pictures and pairs as one HTML page that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any

from rlguide.data.example import Example
from rlguide.data.inspect.examples import LONG, shortened, shown_responses, shown_turns
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.tables import tables
from rlguide.html import render

_PIECE = re.compile(r"[一-鿿぀-ヿ가-힯]|\w+|\s+|.", re.DOTALL)
ALIKE = 0.5  # share of words in common; with less, nearly everything would be marked, and nothing is
OPENING = 110  # characters of the last prompt that a row is titled with

Pieces = list[tuple[bool, str]]  # of a text, each with whether it differs from the other text


def page(figures: Figures, pictures: dict[str, bytes], examples: Sequence[tuple[int, Example]]) -> str:
    """The whole page; `pictures` are PNG files by name."""
    source = figures.source
    origin = next((source[key] for key in ("hub_id", "file", "folder", "derived_from") if source.get(key)), None)
    return render(
        "inspect.html",
        title=shortened(figures.dataset),
        subtitle=f"rlguide inspect, {figures.rows:,} rows" + (f", from {origin}" if origin else ""),
        verdicts=[shortened(verdict) for verdict in figures.verdicts],
        command=shortened(figures.apply),
        pictures={name.replace("_", " ").capitalize(): picture for name, picture in pictures.items()},
        tables=tables(figures),
        notes=figures.notes,
        rows=[_row(position, example) for position, example in examples],
    )


def _row(position: int, example: Example) -> dict[str, Any]:
    turns, responses = shown_turns(example), shown_responses(example)
    prompt = " ".join(turns[-1][1].split())
    title = f"Row {position:,}: {prompt[:OPENING]}" + " …" * (len(prompt) > OPENING)
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
