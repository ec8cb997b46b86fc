"""Chat with a policy: a worker in the engine's Python keeps the model loaded and responds, one request at a time.

LLaMA-Factory's own `chat` aborts with SIGABRT (exit code 134) when its input ends right after a reply. Here the
worker leaves by itself, and its process group is ended in any case, so that nothing stays behind on the GPU.

It is started and explained with the functions of `engine.process` and `engine.failures`, as every job; only the
following is its own, because requests and events go both ways.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rlguide.conversation import Ended, Message, Response, ended_of
from rlguide.engine.failures import explain_failure
from rlguide.engine.find import Engine
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import group_alive, read_tail, signal_group, start_process
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError
from rlguide.workspace import log_folder


def _note(event: dict[str, Any]) -> None:
    from rlguide.console import warn

    warn(str(event["text"]))


class ChatSession:
    """A loaded policy. A context manager: entering starts the worker and waits until the model is loaded.

    Args:
        engine: where LLaMA-Factory is.
        args: LLaMA-Factory keys of the model: model_name_or_path, adapter_name_or_path, template, ...
        cwd: the workspace; relative paths in `args` count from it.
        on_wait: called about once a second while the model loads, with the seconds so far.

    Raises:
        EngineError: the model could not be loaded; the message names the cause and the log.
    """

    def __init__(
        self, engine: Engine, args: dict[str, Any], cwd: Path, on_wait: Callable[[float], None] | None = None
    ) -> None:
        self._engine, self._args, self._cwd = engine, args, cwd
        self._on_wait = on_wait
        self._process: subprocess.Popen[bytes] | None = None
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._is_busy = False  # whether events of a request are still to come
        self._log: Path | None = None
        self.device = ""
        self.size: int | None = None  # bytes of the weights, once they are loaded
        self.ended: Ended = "stop"

    def __enter__(self) -> ChatSession:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        self.close()
        if self._log is not None and not isinstance(value, EngineError):
            self._log.unlink(missing_ok=True)  # kept only where an error names it

    @property
    def pid(self) -> int | None:
        """The worker's process id, which is the id of its group."""
        return self._process.pid if self._process else None

    def ask(self, messages: Sequence[Message], **generation: Any) -> Iterator[str]:
        """Yield the response piece by piece. Ending the iteration early (also by Ctrl-C) stops the response.

        `generation`: max_new_tokens, temperature (0: greedy decoding), top_p, ...;
        `ended` says afterwards how it ended.

        Raises:
            EngineError: the worker failed.
        """
        events = self._request({"messages": list(messages), "generation": generation})
        try:
            for event in events:
                if event["event"] == "delta":
                    yield str(event["text"])
                elif event["event"] == "note":
                    _note(event)
                elif event["event"] == "done":
                    self.ended = ended_of(event.get("reason"))
        finally:
            self._cancel()

    def responses(
        self, conversations: Sequence[Sequence[Message]], batch_size: int | None = None, **generation: Any
    ) -> Iterator[tuple[int, Response]]:
        """Yield (index, greedy response) to many conversations, in the order in which batches come out.

        `batch_size`: how many at once; None for what suits the device.

        Raises:
            EngineError: the worker failed.
        """
        request = {"conversations": [list(item) for item in conversations], "batch_size": batch_size}
        for event in self._request({**request, "generation": generation}):
            if event["event"] == "response":
                yield int(event["index"]), Response(str(event["text"]), ended_of(event.get("reason")))
            elif event["event"] == "note":
                _note(event)

    def close(self) -> None:
        """End the worker and everything it started. Safe to call again."""
        process = self._process
        if process is None:
            return
        try:
            if process.stdin is not None:
                process.stdin.close()  # the worker leaves when its input ends
        except OSError:
            pass
        for number, grace in ((None, 3.0), (signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
            if number is not None:
                signal_group(process.pid, number)
            deadline = time.monotonic() + grace
            while time.monotonic() < deadline:
                if process.poll() is not None and not group_alive(process.pid):
                    return
                time.sleep(0.02)

    def _start(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="chat-", suffix=".log", dir=log_folder())
        self._log = Path(name)
        try:
            streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": descriptor}
            command, environment = worker_command(self._engine, "chat"), engine_environment(self._engine)
            with interrupts_held():
                self._process = start_process(command, self._cwd, environment, streams)
        finally:
            os.close(descriptor)
        threading.Thread(target=self._read, daemon=True).start()
        self._send({"args": self._args})
        started = time.monotonic()
        while True:
            event = self._next(timeout=1.0)
            if event is None:
                if self._on_wait:
                    self._on_wait(time.monotonic() - started)
            elif event["event"] == "ready":
                self.device = str(event.get("device", ""))
                size = event.get("bytes")
                self.size = size if isinstance(size, int) else None
                return

    def _read(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        for line in self._process.stdout:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict) and "event" in event:
                self._events.put(event)
        self._events.put(None)

    def _send(self, request: dict[str, Any]) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):
            raise self._failure() from None

    def _next(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next event, or None after `timeout` seconds. Raises EngineError at an error and at the worker's end."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if event is None or event["event"] == "error":
            self._is_busy = False  # it has ended: there is nothing to stop, and nothing more will come
        if event is None:
            raise self._failure()
        if event["event"] == "error":
            raise self._failure(f"{event.get('kind')}: {event.get('text')}")
        return event

    def _request(self, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request; its events, up to `done`. What is left of one that was ended early is discarded first."""
        self._cancel()
        self._send(request)
        self._is_busy = True
        while self._is_busy:
            event = self._next()
            assert event is not None  # no timeout was given
            self._is_busy = event["event"] != "done"
            yield event

    def _cancel(self) -> None:
        """Stop what is being generated and discard what is left of it, so that the next request gets its own response.

        A second Ctrl-C can end this, too: then the next request does it.
        """
        if not self._is_busy or self._process is None or self._process.poll() is not None:
            return
        self._send({"stop": True})
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline:
            event = self._next(timeout=1.0)
            if event is not None and event["event"] == "done":
                self.ended, self._is_busy = "stopped", False
                return
        self.close()

    def _failure(self, text: str = "") -> EngineError:
        if self._process is not None and not text:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                pass
        return model_failure(self._log, self._process.poll() if self._process else None, text)


def model_failure(log: Path | None, returncode: int | None, text: str = "") -> EngineError:
    """Why a worker with a loaded model failed, of what it has told (`text`), its log and how it ended.

    Args:
        returncode: None while it runs.
    """
    printed = read_tail(log) if log else ""
    cause = explain_failure(f"{printed}\n{text}", returncode if returncode is not None else 1)
    fix = {
        "gpu": "free the GPU (`nvidia-smi` shows who uses it), choose another with CUDA_VISIBLE_DEVICES, "
        "or ask for less with --max-new-tokens",
        "main": "close other programs: the model needs its own size in main memory, twice that in float32",
    }.get(cause.memory, f"{cause.fix}: {log}")
    return EngineError(f"the model could not be run: {cause.what}", fix)
