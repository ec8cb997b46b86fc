"""Ask hosts something at once: one command for each, with time-outs and limits."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import IO

from rlguide.launchers.ssh.client import LOST
from rlguide.launchers.ssh.node import last_line

_LARGEST = 1 << 22  # bytes of an answer
_POLL = 0.05


@dataclass(frozen=True)
class Answer:
    """What a command printed, its exit code (LOST if it gave no answer), and the last line that it said of an error."""

    out: bytes
    code: int
    said: str = ""


def ask_all(
    commands: Sequence[Sequence[str]],
    given: bytes,
    limit: float,
    on_wait: Callable[[list[bool]], object] = lambda is_done: None,
) -> list[Answer]:
    """Run all commands with `given` as their input, for `limit` seconds at most; their answers in the same order.

    None of them is left running, however this ends: after Ctrl-C, too.

    Args:
        on_wait: called now and then with which of them are done.
    """
    with ExitStack() as stack:
        asked = [_Asked(command, given, stack) for command in commands]
        deadline = time.monotonic() + limit
        while not all(is_done := [one.is_done for one in asked]) and time.monotonic() < deadline:
            on_wait(is_done)
            time.sleep(_POLL)
        return [one.answer(limit) for one in asked]


class _Asked:
    """A command that runs until `stack` is left, or ends by itself."""

    def __init__(self, command: Sequence[str], given: bytes, stack: ExitStack) -> None:
        self._out: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._errors: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self._process: subprocess.Popen[bytes] | None = None
        self._failed = ""
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            try:  # in a session of its own: Ctrl-C is not its matter, and ssh finds no terminal to ask on
                self._process = subprocess.Popen(
                    command, stdin=file, stdout=self._out, stderr=self._errors, start_new_session=True
                )
            except OSError as error:
                self._failed = f"cannot start {command[0]}: {error.strerror}"
                return
        stack.callback(self._end)

    @property
    def is_done(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def answer(self, limit: float) -> Answer:
        code = self._process.poll() if self._process is not None else LOST
        if self._failed or code is None:
            return Answer(b"", LOST, self._failed or f"no answer within {limit:g} s")
        self._out.seek(0)
        return Answer(self._out.read(_LARGEST), code, last_line(self._errors) or f"exit code {code}")

    def _end(self) -> None:
        assert self._process is not None
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
