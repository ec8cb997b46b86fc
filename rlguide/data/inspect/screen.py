"""The figures and a few rows on the screen."""

from __future__ import annotations

import shutil
import sys

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.inspect.examples import shortened, shown_responses, shown_turns
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.inspection import Inspected
from rlguide.data.inspect.tables import tables

WIDE = 90  # columns of a terminal: from here on the responses stand side by side
SHORT = 60  # characters that stand beside the name of the role


def show(inspected: Inspected) -> None:
    """The tables, the notes and the verdicts, the rows, and the command that does what is advised (stdout)."""
    figures = inspected.figures
    _show_tables(figures)
    for note in figures.notes:
        console.show(f"note: {note}")
    if figures.notes:
        console.show("")
    for verdict in figures.verdicts:
        console.show(f"- {shortened(verdict)}")
    if not figures.verdicts:
        console.show("No problems found.")
    for position, example in inspected.examples:
        console.show(f"\n--- row {position:,} ---")
        _show_example(example)
    if figures.apply:  # last, where it is seen; on one line, for a command is copied from the terminal
        console.console().print("\n" + shortened(figures.apply), markup=False, soft_wrap=True)


def _show_tables(figures: Figures) -> None:
    for table in tables(figures):
        console.show(f"{table.title} ({table.note})" if table.note else table.title)
        columns, rows = table.columns, table.rows
        if len(columns) > 5 and sys.stdout.isatty() and not _is_wide():
            columns, *rows = zip(columns, *rows, strict=True)  # on its side
        console.show_table(columns, rows)
        console.show("")


def _show_example(example: Example) -> None:
    """The prompt, then the responses side by side, or below each other where it is narrow."""
    for role, text in shown_turns(example):
        # Text that may wrap goes below its role: Chinese without spaces would go there in any case.
        console.show(f"[{role}]{' ' if len(text) <= SHORT else chr(10)}{text}")
    responses = shown_responses(example)
    if len(responses) == 2 and sys.stdout.isatty() and _is_wide():
        _show_side_by_side(responses)
        return
    for name, text in responses:
        console.show(f"--- {name} ---\n{text}")


def _is_wide() -> bool:
    return shutil.get_terminal_size().columns >= WIDE


def _show_side_by_side(responses: list[tuple[str, str]]) -> None:
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    table = Grid(box=box.SIMPLE_HEAD, expand=True, pad_edge=False, padding=(0, 1))
    for (name, _), style in zip(responses, ("green", "red"), strict=True):
        table.add_column(Text(name, style=style), ratio=1, overflow="fold")
    table.add_row(*(Text(text) for _, text in responses))
    console.show(table)
