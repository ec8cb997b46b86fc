"""A command on a terminal of a given width, and the tables that it draws there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

RLGUIDE = str(Path(sys.executable).parent / "rlguide")


def on_a_terminal(folder: Path, *arguments: str, columns: int = 60, answer: bytes = b"") -> tuple[int, str]:
    """Exit code, and what the terminal got, with colours."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    with subprocess.Popen(
        [RLGUIDE, *arguments], cwd=folder, stdin=child, stdout=child, stderr=child, env=environment
    ) as process:
        os.close(child)
        if answer:
            os.write(parent, answer)
        got = b""
        try:
            while part := os.read(parent, 65536):
                got += part
        except OSError:  # the other end is closed
            pass
    os.close(parent)
    return process.returncode, got.decode()


def plain(text: str) -> list[str]:
    """The lines without colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "").split("\n")


def first_column(lines: list[str], head: str) -> str:
    """The text of the column with this heading, put together again without its spaces and line ends."""
    from rich.cells import cell_len

    rule = next(at for at, line in enumerate(lines) if set(line.strip()) == {"─"})
    heading = next(line for line in lines[:rule] if head in line)
    start = cell_len(heading[: heading.index(head)])
    others = [at for line in lines[:rule] for at in starts(line) if at > start]
    end = min(others, default=10_000)
    cells = ("".join(char for at, char in placed(line) if start <= at < end) for line in lines[rule + 1 :])
    return re.sub(r"\s", "", "".join(cells))


def starts(line: str) -> list[int]:
    """The cells at which a heading begins: behind two spaces or more."""
    from rich.cells import cell_len

    return [cell_len(line[: found.start(1)]) for found in re.finditer(r"(?:^ |  )(\S)", line)]


def placed(line: str) -> list[tuple[int, str]]:
    """The characters of a line with the cell that each begins at."""
    from rich.cells import cell_len

    found, at = [], 0
    for char in line:
        found.append((at, char))
        at += cell_len(char)
    return found
