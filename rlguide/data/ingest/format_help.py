"""The formats in words, for the help of `register`: their names and what their columns hold, from the formats."""

from __future__ import annotations

from textwrap import fill

from rlguide.data.example import ExampleKind
from rlguide.data.formats.table import FORMATS

WIDTH = 78  # with the indent of a help text, a line of a usual terminal
NAMES = 19  # the longest name, and a space


def format_help(kind: ExampleKind) -> str:
    """A line or two for each format of this kind: its name, then its columns."""
    known = [form for form in FORMATS.values() if form.kind == kind]
    return "\n".join(
        fill(form.sentence, WIDTH, initial_indent=form.name.ljust(NAMES), subsequent_indent=" " * NAMES)
        for form in known
    )
