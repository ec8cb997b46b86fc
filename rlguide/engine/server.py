"""A server of a model: a worker in the engine's Python that answers HTTP requests on a socket which is open already.

It is started and explained as a chat (`engine.chat`). It ends with the command that started it, however that ends,
until it is told to go on without it.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.engine.chat import model_failure
from rlguide.engine.find import Engine
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import start_process, stop_group
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError

KEY = "RLGUIDE_API_KEY"  # the variable that holds the key that clients must send


@dataclass(frozen=True)
class ServerSettings:
    """What a server serves, and to whom.

    Attributes:
        args: LLaMA-Factory keys of the model.
        kind: "hf" or "vllm" for a policy, "rewards" for a reward model.
        name: of the model, as clients say it.
        key: what clients must send, "" if nothing.
        hosts: names by which clients may call this host; empty: any.
        max_new_tokens: longest response where a request does not say.
        content: a checksum of what decides the responses, for clients that store them; "" if it is not known.
    """

    args: dict[str, Any]
    kind: str
    name: str
    key: str = ""
    hosts: tuple[str, ...] = ()
    max_new_tokens: int = 512
    content: str = ""


class ModelServer:
    """A server of a model. `start` waits until it is ready; a `with` block stops it at its end.

    Args:
        cwd: the workspace; relative paths in the settings count from it.
        log: file that takes its output.
    """

    def __init__(self, engine: Engine, settings: ServerSettings, cwd: Path, log: Path) -> None:
        self._engine, self._settings, self._cwd, self.log = engine, settings, cwd, log
        self._process: subprocess.Popen[bytes] | None = None
        self.device = ""

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its group."""
        return self._running.pid

    def start(self, listening: socket.socket, on_wait: Callable[[float], None] = lambda seconds: None) -> None:
        """Start it on a listening socket and wait until the model is loaded.

        Args:
            on_wait: called about once a second with the seconds so far.

        Raises:
            EngineError: it does not start, or the model cannot be loaded; the message names the cause and the log.
        """
        command = worker_command(self._engine, "serve")
        environment = engine_environment(self._engine)
        environment.pop(KEY, None)  # it comes by its input, which nobody else can read
        with self.log.open("ab") as output, interrupts_held():
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": output}
            self._process = start_process(
                command, self._cwd, environment, {**streams, "pass_fds": (listening.fileno(),)}
            )
        assert self._process.stdin is not None
        request = json.dumps({**self._settings.__dict__, "socket": listening.fileno()}).encode() + b"\n"
        try:
            self._process.stdin.write(request)
            self._process.stdin.flush()
        except OSError:
            raise self._failure() from None
        self._wait_until_ready(on_wait)

    def wait(self) -> None:
        """Wait until it ends by itself, asked by its signals. Raises EngineError if it failed."""
        if self._running.wait() != 0:
            raise self._failure(self._told_last())

    def stop(self) -> None:
        """End it and everything it started. Safe to call again."""
        if self._process is not None:
            if self._process.stdin is not None and not self._process.stdin.closed:
                with suppress(OSError):
                    self._process.stdin.close()
            stop_group(self._process.pid, self._process.poll)
            self._process.wait()

    def release(self) -> None:
        """Let it go on without this command. Raises EngineError if it has ended meanwhile."""
        assert self._running.stdin is not None
        try:
            self._running.stdin.write(b'{"stay": true}\n')
            self._running.stdin.close()
        except OSError:
            raise self._failure(self._told_last()) from None
        self._told.close()

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "it was not started"
        return self._process

    @property
    def _told(self) -> IO[bytes]:
        assert self._running.stdout is not None
        return self._running.stdout

    def _wait_until_ready(self, on_wait: Callable[[float], None]) -> None:
        started = time.monotonic()
        while True:
            if not select.select([self._told], [], [], 1.0)[0]:
                on_wait(time.monotonic() - started)
                continue
            event = self._event()
            if event.get("event") == "ready":
                self.device = str(event.get("device", ""))
                return
            raise self._failure(_text_of(event))

    def _event(self) -> dict[str, Any]:
        """The next line that it says; {} at its end, and for what is no event."""
        try:
            event = json.loads(self._told.readline())
        except (ValueError, RecursionError):
            return {}
        return event if isinstance(event, dict) else {}

    def _told_last(self) -> str:
        event = self._event()
        return _text_of(event) if event.get("event") == "error" else ""

    def _failure(self, text: str = "") -> EngineError:
        process = self._running
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            pass
        return model_failure(self.log, process.poll(), text)


def _text_of(event: dict[str, Any]) -> str:
    return f"{event.get('kind')}: {event.get('text')}" if event else ""
