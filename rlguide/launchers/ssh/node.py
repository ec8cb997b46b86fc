"""One node of a training: its ssh, what it is told, and what it prints."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from rlguide.console import printable
from rlguide.launchers.ssh.client import LOST, ssh_command
from rlguide.launchers.ssh.hosts import Host

_HELLO = "NODE "
_LAST_LINES = 100  # of a node that failed, shown once more at the end
_LONGEST = 1 << 16  # bytes of a line
_BREAK = re.compile(rb"[\r\n]")


class Output:
    """This process's stdout, which is the log of the run, for the threads of all nodes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Write whole lines."""
        with self._lock, suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()

    def say(self, message: str) -> None:
        """A line of rlguide itself."""
        self.write(f"rlguide: {message}\n")


class Node:
    """A node that runs `supervisor` (rlguide_worker/run_node.py) over ssh.

    Attributes:
        hello: the address and the free port that it named; None until it has.
        last: the last lines that it printed.
        log: the file that has all of them.
    """

    def __init__(self, host: Host, config: str, supervisor: Sequence[str], logs: Path, output: Output) -> None:
        self.host, self.log = host, logs / f"{host.file_name}.log"
        self.hello: dict[str, Any] | None = None
        self.last: deque[str] = deque(maxlen=_LAST_LINES)
        self._output, self._is_read = output, False
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as this node is)
        # In a session of its own: signals to the group of this process are passed on as orders, and ssh stays.
        self._process = subprocess.Popen(
            ssh_command(host, config, supervisor),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Its exit code, LOST if ssh was ended by a signal or nothing was started; None while it runs."""
        code = self._process.poll()
        is_lost = code is not None and (code < 0 or (code == 0 and self.hello is None))
        return LOST if is_lost else code

    @property
    def said(self) -> str:
        """The last line that ssh itself, or the shell of the node, has said of an error; "" if there is none."""
        return last_line(self._errors)

    def poll(self) -> int | None:
        """Its exit code once all that it printed is read; None until then."""
        code = self.code
        if code is not None and not self._is_read:
            self._reader.join(2.0)  # not for ever: what ssh left behind may hold the pipe
            self._is_read = True
        return code

    def tell(self, **order: Any) -> None:
        """Give it an order; nothing if it is gone."""
        assert self._process.stdin is not None
        with suppress(OSError, ValueError):  # closed, by it or by us
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def close(self) -> None:
        """End what it runs: its supervisor does so when nobody gives orders any more."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End its ssh."""
        with suppress(OSError):
            self._process.kill()

    def _read(self) -> None:
        with self.log.open("ab", buffering=0) as log:  # a full disk loses its lines, and nothing else
            for line in self._lines():
                if self.hello is None and (hello := _hello_in(line)) is not None:
                    self.hello = hello
                    continue
                with suppress(OSError):
                    log.write(line)
                text = line.decode("utf-8", "replace")
                self.last.append(text.rstrip("\r\n") + "\n")
                self._output.write(f"[{self.host}] {text}")

    def _lines(self) -> Iterator[bytes]:
        """What it prints as it comes, by lines; a carriage return ends one, too."""
        assert self._process.stdout is not None
        rest = b""
        while new := os.read(self._process.stdout.fileno(), _LONGEST):
            rest += new
            while (found := _BREAK.search(rest)) is not None:
                yield rest[: found.end()]
                rest = rest[found.end() :]
            if len(rest) > _LONGEST:
                yield rest + b"\n"
                rest = b""
        if rest:
            yield rest + b"\n"


def last_line(file: IO[bytes]) -> str:
    """The last line in a file that is not empty, for a message."""
    file.seek(0)
    lines = file.read(_LONGEST).decode("utf-8", "replace").splitlines()
    return next((printable(line.strip())[:300] for line in reversed(lines) if line.strip()), "")


def _hello_in(line: bytes) -> dict[str, Any] | None:
    """What a node says first; None for any other line, such as a greeting of its shell."""
    text = line.decode("utf-8", "replace").strip()
    if not text.startswith(_HELLO):
        return None
    try:
        said = json.loads(text.removeprefix(_HELLO))
        address, port = said["address"], said["port"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    is_hello = isinstance(address, str) and isinstance(port, int) and 0 < port < 65536
    return {"address": printable(address), "port": port} if is_hello else None
