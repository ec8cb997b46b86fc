"""The one place where rlguide writes to the screen: data on stdout, everything else on stderr.

On a terminal Rich draws; in a pipe the same words come as plain text without colour or line wrapping.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress


_consoles: dict[bool, Console] = {}


def console(stderr: bool = False) -> Console:
    """The shared Rich console for stdout (data) or stderr (messages, progress)."""
    if stderr not in _consoles:
        from rich.console import Console

        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else 100_000  # never wrap or cut what a pipe reads
        _consoles[stderr] = Console(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())
    return _consoles[stderr]


def say(message: str) -> None:
    """Print a message for the person (stderr). Rich markup is not interpreted: file names may hold brackets."""
    console(stderr=True).print(message, markup=False)


def warn(message: str) -> None:
    """Print a warning (stderr), marked as one."""
    console(stderr=True).print(f"warning: {message}", style="yellow", markup=False)


def show(renderable: RenderableType) -> None:
    """Print data (stdout): text or any Rich renderable. A string is printed as it is, without markup."""
    console().print(renderable, markup=False)


def show_json(value: Any) -> None:
    """Print one JSON document on stdout (`--json`)."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2, default=str) + "\n")


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print rows under column names (stdout): a Rich table on a terminal, aligned plain columns in a pipe."""
    if sys.stdout.isatty():
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(*columns, title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
        for row in rows:
            table.add_row(*[Text(cell) for cell in row])
        show(table)
        return
    from rich.cells import cell_len  # Chinese characters are two cells wide

    lines = [list(columns), *[list(row) for row in rows]]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def progress(unit: str = "rows") -> Progress:
    """A progress display on stderr with rate and time left; use it as a context manager.

    `unit` is "bytes" for downloads, any noun otherwise. Not drawn when stderr is not a terminal: there the
    caller prints a plain line now and then.
    """
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    amount = [DownloadColumn(), TransferSpeedColumn()] if unit == "bytes" else [MofNCompleteColumn(), TextColumn(unit)]
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        *amount,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


# What acts on a screen instead of standing on it: control characters, separators of lines, halves of surrogate pairs,
# and what turns the direction of text, so that a name looks like another one (CVE-2021-42574).
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str, instead: str = "") -> str:
    """The text without what could move the cursor or change a terminal's settings; line ends and tabs stay."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else instead, text)


def escaped(text: str) -> str:
    """The text with what could act on a screen escaped (\\x1b)."""
    return UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)
