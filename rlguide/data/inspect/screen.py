"""The figures and a few rows on the screen."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace

from rlguide import console
from rlguide.data.example import Example
from rlguide.data.inspect.examples import shortened, shown_responses, shown_turns
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.tables import tables

WIDE = 90  # columns of a terminal: from here on the responses stand side by side
SHORT = 60  # characters that stand beside the name of the role


def show_figures(figures: Figures) -> None:
    """The tables, the notes and the verdicts (stdout)."""
    for table in tables(figures):
        console.show(f"{table.title} ({table.note})" if table.note else table.title)
        if len(table.columns) > 5 and sys.stdout.isatty() and not _is_wide():
            columns, *rows = zip(table.columns, *table.rows, strict=True)  # turned on its side
            table = replace(table, columns=columns, rows=rows)
        console.show_table(table.columns, table.rows)
        console.show("")
    for note in figures.notes:
        console.show(f"note: {note}")
    if figures.notes:
        console.show("")
    for verdict in figures.verdicts:
        console.show(f"- {shortened(verdict)}")
    if not figures.verdicts:
        console.show("No problems found.")


def show_command(figures: Figures) -> None:
    """The command that does what is advised, if there is one: last, where it is seen."""
    if figures.apply:
        console.show("")
        # A command that is copied from the terminal must not hold line ends.
        console.console().print(shortened(figures.apply), markup=False, soft_wrap=True)


def show_examples(examples: list[tuple[int, Example]]) -> None:
    """Rows with their numbers: the prompt, then the responses side by side, or below each other where it is narrow."""
    for position, example in examples:
        console.show(f"\n--- row {position:,} ---")
        for role, text in shown_turns(example):
            # Text that may wrap goes below its role: Chinese without spaces would go there in any case.
            console.show(f"[{role}]{' ' if len(text) <= SHORT else chr(10)}{text}")
        responses = shown_responses(example)
        if len(responses) == 2 and sys.stdout.isatty() and _is_wide():
            _show_side_by_side(responses)
            continue
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
