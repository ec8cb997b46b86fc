"""A process in a terminal of its own, as an emulator shows it to a person who types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


class Terminal:
    """Runs `python -m rlguide ARGUMENTS` (or a command) in a pseudo-terminal that pyte draws.

    Attributes:
        raw: every byte that came.
        process: what runs; the terminal is its controlling one, so that Ctrl-C is a signal.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str | None] | None = None,
        stdout: int | None = None,
    ) -> None:
        pyte = pytest.importorskip("pyte")
        self.screen = pyte.HistoryScreen(columns, lines, history=10_000, ratio=0.5)
        self._stream = pyte.ByteStream(self.screen)
        self._main, other = pty.openpty()
        self.resize(columns, lines)
        self.modes_before = self.modes()
        changed = {"TERM": "xterm-256color", "COLUMNS": None, "LINES": None, "NO_COLOR": None, **(environment or {})}
        merged = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), **changed}
        command = [sys.executable, "-c", _CONTROLLING, sys.executable, "-m", "rlguide", *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other if stdout is None else stdout,
            stderr=other,
            env={name: value for name, value in merged.items() if value is not None},
            start_new_session=True,
        )
        os.close(other)
        self.raw = b""

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._main, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def modes(self) -> list[object]:
        """How the terminal treats keys (echo, lines, signals)."""
        return list(termios.tcgetattr(self._main)[:4])

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._main, text.encode())

    def paste(self, text: str) -> None:
        """Paste a text, as a terminal does that was asked to mark pastes; else as keys."""
        is_marked = self.raw.rfind(b"\x1b[?2004h") > self.raw.rfind(b"\x1b[?2004l")
        keys = text.replace("\n", "\r")
        self.type(f"\x1b[200~{keys}\x1b[201~" if is_marked else keys)

    def read(self, seconds: float) -> list[str]:
        """What is on the screen after so many seconds, or at the end of the process."""
        self._take(seconds)
        return [line.rstrip() for line in self.screen.display]

    def _take(self, seconds: float) -> bool:
        """Let the screen draw what comes within so many seconds; whether anything came. Looking at it costs more."""
        before = len(self.raw)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self._main], [], [], left)[0]:
                break
            try:
                data = os.read(self._main, 1 << 16)
            except OSError:
                break
            self.raw += data
            self._stream.feed(data)
        return len(self.raw) > before

    def until(self, text: str, seconds: float = 30.0) -> list[str]:
        """The screen once this text is on it, wherever its lines break."""
        end = time.monotonic() + seconds
        is_new = True
        while time.monotonic() < end:
            if is_new:
                lines = self.read(0.0)
                if text in " ".join(" ".join(lines).split()):
                    return lines
            is_new = self._take(0.03)
        raise AssertionError("\n".join([f"no {text!r} in", *self.everything()]))

    def everything(self) -> list[str]:
        """All lines, those that have scrolled away first, without the empty end."""
        self._take(0.05)
        above = ["".join(line[at].data for at in range(self.screen.columns)) for line in self.screen.history.top]
        lines = [line.rstrip() for line in (*above, *self.screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def wait(self, seconds: float = 20.0) -> int:
        """The exit code; what comes until then is drawn."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self._take(0.05)
        self._take(0.05)
        assert self.process.poll() is not None, "\n".join(["it does not end", *self.everything()])
        return self.process.returncode

    def close(self) -> None:
        """End the process and the terminal."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)


# A terminal sends Ctrl-C to the processes whose controlling terminal it is.
_CONTROLLING = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
