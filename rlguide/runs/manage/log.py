"""What the engine printed in a run, as a person reads it: no progress bars, and nothing in it acts on the screen."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from rlguide.console import printable
from rlguide.engine.events import Tail
from rlguide.engine.running import is_training
from rlguide.errors import RlguideError, UsageError
from rlguide.policy.checkpoint import locate
from rlguide.policy.run_record import read_record
from rlguide.runs.record import LOG, open_run
from rlguide.workspace import Workspace

# A bar of tqdm: "Running tokenizer:  40%|####      | 4/10 [00:01<00:02,  3.1it/s]", or of what has no known end:
# "Generating train split: 648 examples [00:00, 9731.41 examples/s]".
_BAR = re.compile(
    r"[^|%\r\n]*?\b\d{1,3}%\|[^|\r\n]*\| *\S+/\S+ \[[^\]\r\n]*\]"
    r"|(?:[^|\r\n]*: )?\d+(?:\.\d+)?[kMG]?(?:it|B| \w+) \[\d\d:\d\d[^\]\r\n]*/s\]"
)
_WIDEST = 500  # characters of a bar; searching a line of token ids, which has no end, would take seconds
# What colours text, moves the cursor or sets a terminal's title (ECMA-48, CSI and OSC).
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
_BLOCK = 1 << 16
_SECONDS = 0.3  # between two looks at a log that grows


def log_of(ws: Workspace, name: str | None) -> Path:
    """The log of the run of that name, also where its record is damaged or gone; of the newest run by default.

    Raises:
        UsageError: no such run, or it has no log. DataError: the record of a run without a log is damaged.
    """
    if name is not None and (locate(ws, name) / LOG).is_file():
        return locate(ws, name) / LOG
    run = open_run(ws, name)
    if not (run.path / LOG).is_file():
        raise UsageError(
            f"{run.name} has no log: the engine never started there, or {LOG} was removed",
            f"train it again: `rlguide train --replay {shlex.quote(run.name)}`",
        )
    return run.path / LOG


def readable(raw: str) -> list[str]:
    """The lines of a piece of a log: progress bars, colours and control characters are gone; a blank line stays."""
    found = []
    for line in raw.removesuffix("\n").split("\n"):
        parts = _ESCAPE.sub("", line).split("\r")
        texts = [_without_bar(part) for part in parts]
        kept = [shown for text in texts if (shown := printable(text).rstrip())]
        found += kept or ([] if texts != parts else [""])
    return found


def _without_bar(part: str) -> str:
    return _BAR.sub("", part) if len(part) <= _WIDEST else part


def last_lines(log: Path, count: int) -> list[str]:
    """The last lines of a log, at most so many; only its end is read. Raises RlguideError if it cannot be."""
    try:
        return _last_lines(log, count)
    except OSError as error:
        raise RlguideError(f"cannot read {log}: {error.strerror or error}", "check the file's permissions") from error


def all_lines(log: Path) -> Iterator[str]:
    """All lines of a log, one after the other. Raises RlguideError if it cannot be read."""
    try:
        with log.open(encoding="utf-8", errors="replace", newline="\n") as file:
            for line in file:
                yield from readable(line)
    except OSError as error:
        raise RlguideError(f"cannot read {log}: {error.strerror or error}", "check the file's permissions") from error


def follow(log: Path, count: int) -> Iterator[str]:
    """The last lines of a log, then each new one, until what trains in its folder ends."""
    tail = Tail(log)
    yield from last_lines(log, count)
    while True:
        record = read_record(log.parent)
        is_last = not is_training(log.parent, record.pid if record is not None else None)
        for line in tail.lines(is_last):
            yield from (text for text in readable(line) if text)
        if is_last:
            return
        time.sleep(_SECONDS)


def _last_lines(log: Path, count: int) -> list[str]:
    with log.open("rb") as file:
        end = start = file.seek(0, 2)
        size = _BLOCK
        while True:
            start = max(0, end - size)
            file.seek(start)
            raw = file.read(end - start)
            if start > 0:
                raw = raw.partition(b"\n")[2]  # of a line that begins before
            lines = readable(raw.decode("utf-8", "replace")) if raw else []
            if start == 0 or len(lines) >= count:
                return lines[-count:] if count > 0 else []
            size *= 4
