"""TRL's implicit prompt as plain text: chosen and rejected begin with it, and no column has it."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import NamedTuple

from rlguide.data.cells.values import Record, accepted, text
from rlguide.data.example import BadRow

CLEAR = 0.8  # share of the rows in which a prompt must look like one; some responses begin with the same word
SENTENCE_ENDS = tuple(".?!:;…。？！：；؟۔।॥։።")
CLOSING = "\"'”’»)]}」』）】"  # may follow the end of a sentence
FEW, MOST_EQUAL = 8, 0.3  # rows with one and the same prompt that are nothing odd: so many, or this share
_MARKUP = re.compile(r"\s*(?:[\[{]|array\(|<[|\w])")
SHOWN = 60  # characters of a text that is quoted


class Cut(NamedTuple):
    """Two texts, cut where they part; `gap` is the white space after their common beginning."""

    prompt: str
    chosen: str
    rejected: str
    gap: str


def cut(row: Record, chosen_column: str, rejected_column: str) -> Cut:
    """The texts without their common beginning, up to the last white space. Raises BadRow if they share none."""
    chosen, rejected = text(row.get(chosen_column), chosen_column), text(row.get(rejected_column), rejected_column)
    end = _shared(chosen, rejected)
    while end and not chosen[end - 1].isspace():
        end -= 1
    prompt = chosen[:end].rstrip()
    if not prompt.strip():
        raise BadRow("chosen and rejected do not begin with the same prompt")
    return Cut(prompt, chosen[end:].lstrip(), rejected[end:].lstrip(), chosen[len(prompt) : end])


def doubt(rows: list[Record], chosen: str, rejected: str) -> str:
    """Why the common beginnings in these rows may be no prompts, or "" if they look like some.

    Responses to one prompt often begin alike ("Sure, here is"). A prompt is there in nearly every row, differs between
    prompts, and ends where a line or a sentence does.
    """
    cuts = accepted(partial(cut, chosen_column=chosen, rejected_column=rejected), rows)
    if not cuts or len(cuts) < CLEAR * len(rows):
        return f"only {len(cuts)} of {len(rows)} rows have a common beginning"
    shown = f"for example {shorten(cuts[0].prompt)}"
    counts = Counter(found.prompt for found in cuts)
    if max(counts.values()) > max(FEW, MOST_EQUAL * len(cuts)) or len(counts) == 1 < len(cuts):
        return f"their common beginnings are too much alike to be prompts, {shown}"
    if sum(bool(_MARKUP.match(found.prompt)) for found in cuts) >= CLEAR * len(cuts):
        return f"they begin like data or markup, not like text, {shown}"
    for ends in (lambda one: "\n" in one.gap, lambda one: one.prompt.rstrip(CLOSING).endswith(SENTENCE_ENDS)):
        if sum(map(ends, cuts)) >= CLEAR * len(cuts):
            return ""
    return f"their common beginnings do not end where a line or a sentence ends, {shown}"


def shorten(value: str) -> str:
    """A text as a quotation for the screen: its first words on one line."""
    line = " ".join(value.split())
    return f'"{line}"' if len(line) <= SHOWN else f'"{line[:SHOWN]}..."'


def _shared(one: str, other: str) -> int:
    """How many characters two texts share at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # a binary search compares at memory speed
        middle = (low + high + 1) // 2
        if one.startswith(other[low:middle], low):
            low = middle
        else:
            high = middle - 1
    return low
