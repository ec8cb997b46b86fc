"""The formats in words, for the help of `register`: their names and what their columns hold, from the formats."""

from __future__ import annotations

from textwrap import fill

from rlguide.data.example import ExampleKind
from rlguide.data.formats.base import KINDS, SHAPES

WIDTH = 78  # with the indent of a help text, a line of a usual terminal
NAMES = 19  # the longest name, and a space


def format_help(kind: ExampleKind) -> str:
    """A line or two for each format of this kind: its name, then its columns."""
    return "\n".join(
        fill(sentence, WIDTH, initial_indent=name.ljust(NAMES), subsequent_indent=" " * NAMES)
        for name, sentence in SHAPES.items()
        if KINDS[name] == kind
    )
