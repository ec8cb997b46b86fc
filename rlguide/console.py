"""The one place where rlguide writes to the screen: data on stdout, everything else on stderr.

On a terminal Rich draws; in a pipe the same words come as plain text without colour or line wrapping.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import select
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress


_consoles: dict[bool, Console] = {}

_NOBODY_READS = (errno.EPIPE, errno.EIO)  # of a pipe that is closed; of a terminal that is
_STREAMS = {"stdin": 0, "stdout": 1, "stderr": 2}
_silenced: set[int] = set()  # streams for which the null device stands in


class _Output(io.FileIO):
    """A standard stream that becomes the null device when nobody reads it any more: the command runs on.

    Messages that cannot be written (a full disk) are dropped; data on stdout that cannot be written is an error.
    """

    def write(self, data: Any) -> int:
        """Write, as FileIO does; OSError for data only."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _NOBODY_READS and self.fileno() != _STREAMS["stderr"]:
                raise OSError(error.errno, error.strerror, "stdout") from error
            silence(self.fileno())
            return len(data)


def nobody_reads() -> bool:
    """Whether the reader of stdout, a pipe, is gone: what is made for it now is made for nobody."""
    if _STREAMS["stdout"] in _silenced:
        return True
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError):  # a stream without a file
        return False


def silence(descriptor: int) -> None:
    """Let the null device stand in for a stream, for this process and for those that it starts."""
    _silenced.add(descriptor)
    null = os.open(os.devnull, os.O_RDWR)
    if null != descriptor:
        os.dup2(null, descriptor)
        os.close(null)


def guard_streams() -> None:
    """Make stdout and stderr streams on which a write never stops a command because of who reads, or how it is encoded.

    A stream that was closed (`>&-`) is the null device: else the next file that is opened would take its number, and
    get what is printed.
    """
    for name, descriptor in _STREAMS.items():
        stream = getattr(sys, name)
        if stream is not None and stream is not getattr(sys, f"__{name}__"):
            continue  # a test's, or a caller's
        try:
            os.fstat(descriptor)
        except OSError:
            silence(descriptor)
        if name != "stdin":
            _guard(name, descriptor, stream)
        elif stream is None:
            sys.stdin = open(descriptor, encoding="utf-8", closefd=False)  # noqa: SIM115  (for as long as we run)


def _guard(name: str, descriptor: int, stream: Any) -> None:
    if stream is not None:
        try:
            stream.flush()
        except OSError:
            silence(descriptor)
    guarded = io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors="backslashreplace",
        line_buffering=name == "stderr" or os.isatty(descriptor) or getattr(stream, "write_through", False),
    )
    setattr(sys, name, guarded)


def cleaned(text: str) -> str:
    """The text as it is shown: what could act on a screen is escaped (\\x1b); line ends and tabs stay."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in "\n\t" else escaped(found[0]), text)


def console(stderr: bool = False) -> Console:
    """The shared Rich console for stdout (data) or stderr (messages, progress)."""
    if stderr not in _consoles:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() else 100_000  # never wrap or cut what a pipe reads
        kind = _clean_console()
        _consoles[stderr] = kind(stderr=stderr, width=width, highlight=False, soft_wrap=not stream.isatty())
    return _consoles[stderr]


@cache
def _clean_console() -> type[Console]:
    from rich.console import Console
    from rich.segment import Segment

    class CleanConsole(Console):
        """A console on which no text acts, whatever it is part of: a line, a table, a live panel.

        What Rich itself sends to the terminal are control segments and styles, which stay.
        """

        def render(self, renderable: Any, options: Any = None) -> Iterator[Segment]:
            """The segments of a renderable, their text cleaned."""
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(cleaned(segment.text), segment.style)

    return CleanConsole


def say(message: str) -> None:
    """Print a message for the person (stderr). Rich markup is not interpreted: file names may hold brackets."""
    console(stderr=True).print(message, markup=False)


def warn(message: str) -> None:
    """Print a warning (stderr), marked as one."""
    console(stderr=True).print(f"warning: {message}", style="yellow", markup=False)


def show(renderable: RenderableType) -> None:
    """Print data (stdout): text or any Rich renderable. A string is printed as it is, without markup."""
    console().print(renderable, markup=False)


def show_line(text: str) -> None:
    """Print a line of data (stdout) as it is: nothing wraps it, and what could act on a screen is escaped."""
    sys.stdout.write(cleaned(text) + "\n")


def show_json(value: Any) -> None:
    """Print one JSON document on stdout (`--json`)."""
    sys.stdout.write(to_json(value, indent=2) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """JSON in readable UTF-8, in which what could act on a screen is escaped, as JSON lets one do."""
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def show_error(what: str, fix: str) -> None:
    """Print the two lines of an error (stderr); what is in them never makes a third."""
    console(stderr=True).print(f"error: {escaped(what)}", style="bold red", markup=False)
    console(stderr=True).print(f"  fix: {escaped(fix)}", markup=False)


def show_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None, lesser: Sequence[str] = ()
) -> None:
    """Print rows under column names (stdout): a Rich table on a terminal, aligned plain columns in a pipe.

    Nothing is ever cut. Where a terminal is too narrow, the `lesser` columns are left out one by one, the first of
    them first, until the rest fits (said on stderr); what is still too wide goes on in the next line.
    """
    if sys.stdout.isatty():
        kept = _fitting(columns, [[cleaned(cell) for cell in row] for row in rows], lesser, console().width)
        _show_rich(columns, rows, title, kept)
        if left_out := [name for at, name in enumerate(columns) if at not in kept]:
            say(f"not shown, as the terminal is too narrow: {', '.join(left_out)}")
        return
    from rich.cells import cell_len  # Chinese characters are two cells wide

    lines = [[cleaned(cell) for cell in line] for line in (columns, *rows)]
    widths = [max(cell_len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _show_rich(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None, kept: Sequence[int]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for at in kept:
        table.add_column(columns[at], overflow="fold")
    for row in rows:
        table.add_row(*[Text(cleaned(row[at])) for at in kept])
    show(table)


def _fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], lesser: Sequence[str], width: int) -> list[int]:
    """The columns that are shown in so many cells, by their places."""
    from rich.cells import cell_len

    widths = [
        max(cell_len(part) for row in (columns, *rows) for part in row[at].split("\n")) for at in range(len(columns))
    ]
    kept = set(range(len(columns)))

    def fits(shown: set[int]) -> bool:
        return sum(widths[at] + 3 for at in shown) - 1 <= width  # three cells between two columns, and one at each end

    left_out: list[int] = []
    while not fits(kept) and len(left_out) < len(lesser):
        left_out.append(columns.index(lesser[len(left_out)]))
        kept.remove(left_out[-1])
    for at in reversed(left_out):  # a wide one may have made room for others
        kept |= {at} if fits(kept | {at}) else set()
    return sorted(kept)


def show_block(title: str, text: str, style: str = "bold") -> None:
    """Print a text of any length below its title (stdout), set in by two columns: whole, and wrapped on a terminal."""
    if not sys.stdout.isatty():
        lines = [f"  {line}" if line else "" for line in cleaned(text).split("\n")]
        sys.stdout.write("\n".join([cleaned(title), *lines]) + "\n")
        return
    from rich.padding import Padding
    from rich.text import Text

    show(Text(cleaned(title), style=style))
    show(Padding(Text(cleaned(text)), (0, 0, 0, 2)))


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
