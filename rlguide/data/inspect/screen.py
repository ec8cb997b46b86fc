"""The figures and a few pairs on the screen."""

from __future__ import annotations

import re
import shutil
import sys

from rlguide import console
from rlguide.data.example import Example, Labelled
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.tables import Table, tables

WIDE = 90  # columns of a terminal: from here on the answers stand side by side
LONG = 1500  # characters of an answer that are shown
EARLIER = 300  # the same of earlier turns and of the system prompt
SHORT = 60  # characters that stand beside the name of the role
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def show_figures(figures: Figures) -> None:
    """The tables, the notes and the verdicts (stdout)."""
    for position, table in enumerate(tables(figures)):
        if position:
            console.show("")
        console.show(shortened(f"{table.title} ({table.note})" if table.note else table.title))
        if len(table.columns) > 5 and sys.stdout.isatty() and shutil.get_terminal_size().columns < WIDE:
            table = turned(table)
        console.show_table(table.columns, [tuple(map(shortened, row)) for row in table.rows])
    for note in figures.notes:
        console.show(f"note: {note}")
    console.show("")
    for verdict in figures.verdicts:
        console.show(f"- {shortened(verdict)}")
    if not figures.verdicts:
        console.show("Nothing to mend was found.")


def show_command(figures: Figures) -> None:
    """The command that does what is advised, if there is one: last, where it is seen."""
    if figures.apply:
        console.show("")
        # A command that is copied from the terminal must not hold line ends.
        console.console().print(shortened(figures.apply), markup=False, soft_wrap=True)


def turned(table: Table) -> Table:
    """The table with its columns as rows, for a narrow terminal."""
    columns, *rows = zip(table.columns, *table.rows, strict=True)
    return Table(table.title, columns, rows, table.note)


def show_examples(examples: list[tuple[int, Example]]) -> None:
    """Rows with their numbers: the prompt, then the answers side by side, or below each other where it is narrow."""
    wide = sys.stdout.isatty() and shutil.get_terminal_size().columns >= WIDE
    for position, example in examples:
        console.show("")
        console.show(_rule(f"row {position:,}"))
        if example.system:
            _show_turn("system", shortened(example.system, EARLIER))
        for index, turn in enumerate(example.messages):
            limit = LONG if index == len(example.messages) - 1 else EARLIER
            _show_turn("assistant" if index % 2 else "user", shortened(turn.value, limit))
        _show_answers(example, wide)


def _show_turn(role: str, text: str) -> None:
    """A text that may wrap stands below its role: Chinese without blanks would go there in any case."""
    console.show(f"[{role}]{' ' if len(text) <= SHORT else chr(10)}{text}")


def _show_answers(example: Example, wide: bool) -> None:
    if isinstance(example, Labelled):
        console.show(_rule("desirable" if example.desirable else "undesirable"))
        console.show(shortened(example.answer))
        return
    names = [f"chosen, {len(example.chosen):,} characters", f"rejected, {len(example.rejected):,} characters"]
    if example.scores is not None:
        names = [f"{name}, score {score:g}" for name, score in zip(names, example.scores, strict=True)]
    if not wide:
        for name, text in zip(names, (example.chosen, example.rejected), strict=True):
            console.show(_rule(name))
            console.show(shortened(text))
        return
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    table = Grid(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    table.add_column(Text(names[0], style="green"), ratio=1, overflow="fold")
    table.add_column(Text(names[1], style="red"), ratio=1, overflow="fold")
    table.add_row(Text(shortened(example.chosen)), Text(shortened(example.rejected)))
    console.show(table)


def _rule(title: str) -> str:
    return f"--- {title} ---"


def shortened(text: str, limit: int = LONG) -> str:
    """The text without control characters, which could move the cursor, and not too long."""
    text = _CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\t", "    "))
    return text if len(text) <= limit else f"{text[:limit]} [... {len(text) - limit:,} more characters]"
