"""The one address for starting the engine, following its output and explaining its end.

Building a command (`Command`) is separate from running it, so that something between the two may change it. Jobs that
train, merge or evaluate go through `run_job`; scripts of `rlguide_worker` that print JSON through `ask_worker` and
`stream_worker`. Only a conversation, which needs both directions, keeps its own loop (`engine.chat`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rlguide.engine.events import EngineEvent, EventReader, Raised, Tail
from rlguide.engine.failures import Failure, explain_failure
from rlguide.engine.find import Engine
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import EngineProcess, read_tail, signal_group, start_process
from rlguide.engine.worker import engine_environment, worker_command
from rlguide.errors import EngineError

NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}  # for what only imports: it must not touch a GPU that others use


@dataclass(frozen=True)
class Command:
    """What to start.

    Attributes:
        arguments: the argument list, never a shell line.
        cwd: the workspace, because paths inside a config are relative to it; the current folder by default.
        variables: environment variables on top of those every process of the engine gets.
        events: the file to which a worker of ours writes what happens; None for the engine's own commands.
        keep: descriptors that it inherits, and with them the locks on these files.
        again: how it is done again once a cause of failure is gone, in the words of a `fix:`.
    """

    arguments: tuple[str, ...]
    cwd: Path = Path()
    variables: Mapping[str, str] = field(default_factory=dict)
    events: Path | None = None
    keep: tuple[int, ...] = ()
    again: str = "run the same command again"


@dataclass(frozen=True)
class Started:
    """The engine runs; `pid` is the id of its process group too."""

    pid: int


@dataclass(frozen=True)
class Line:
    """A line of output, which may hold text of the training data."""

    text: str


@dataclass(frozen=True)
class Idle:
    """Nothing was printed for a moment: time to redraw."""


Event = Started | Line | Idle | EngineEvent


class JobFailed(EngineError):
    """The engine ended with an error. `cause`, `log` and `shown`, its log's name, let a caller say it in its own words.

    `raised` is what its worker told.
    """

    def __init__(self, cause: Failure, log: Path, shown: str, returncode: int, raised: Sequence[Raised] = ()) -> None:
        super().__init__(cause.what, f"{cause.fix}; log: {shown}")
        self.cause, self.log, self.shown, self.returncode, self.raised = cause, log, shown, returncode, tuple(raised)


def cli_command(engine: Engine, cwd: Path, *arguments: str) -> Command:
    """`llamafactory-cli` with these arguments."""
    return Command((str(engine.cli), *arguments), cwd)


def run_job(engine: Engine, command: Command, log: Path, on_event: Callable[[Event], None]) -> None:
    """Run a command of the engine to its end; its output goes to `log`.

    Args:
        on_event: called with `Started` first, then with each line and each event of the worker, `Idle` in between.

    Raises:
        JobFailed: it ended with an error; the message has the cause.
        EngineError: it does not start.
        Whatever `on_event` raises, and KeyboardInterrupt: after the whole process group is stopped.
    """
    environment = engine_environment(engine, **command.variables)
    told = _Told(command.events, on_event)
    with ExitStack() as stack:
        with interrupts_held():
            process = stack.enter_context(EngineProcess(command.arguments, command.cwd, environment, log, command.keep))
        on_event(Started(process.pid))
        for line in process.lines():
            if line is None:
                told.read()
                on_event(Idle())
            else:
                on_event(Line(line))
    code = process.process.wait()
    told.read(is_last=True)
    if code != 0:
        shown = log.relative_to(command.cwd) if log.is_relative_to(command.cwd) else log
        cause = explain_failure(read_tail(log, process.start), code, told.raised, command.again)
        raise JobFailed(cause, log, str(shown), code, told.raised)


class _Told:
    """Passes the events of a worker on; keeps what was raised."""

    def __init__(self, path: Path | None, on_event: Callable[[Event], None]) -> None:
        self._tail = Tail(path) if path is not None else None
        self._reader, self._on_event = EventReader(), on_event
        self.raised: list[Raised] = []

    def read(self, is_last: bool = False) -> None:
        for line in self._tail.lines(is_last) if self._tail is not None else ():
            event = self._reader.read(line)
            if event is not None:
                if isinstance(event, Raised):
                    self.raised.append(event)
                self._on_event(event)


def ask_worker(engine: Engine, name: str, variables: Mapping[str, str] | None = None) -> Any:
    """The JSON document that `rlguide_worker/<name>.py` prints last. Raises EngineError, as `stream_worker`."""
    command = Command(tuple(worker_command(engine, name)), variables=variables or {})
    documents = list(stream_worker(engine, command, timeout=300.0))
    if not documents:
        raise EngineError(f"the engine {engine.python} printed no result ({name})", "run `rlguide doctor`")
    return documents[-1]


def stream_worker(
    engine: Engine, command: Command, given: IO[bytes] | None = None, timeout: float | None = None
) -> Generator[Any, None, None]:
    """Yield each line of a worker's stdout as JSON, as it comes; lines that are not JSON are skipped.

    The worker holds nothing that could be lost: it is killed where the iteration ends early, also by Ctrl-C. Use it
    with `contextlib.closing`, unless it is read to its end in one call.

    Args:
        given: a file that it reads as its stdin.
        timeout: seconds after which it is killed.

    Raises:
        EngineError: it does not start, fails, or takes too long; the message holds the cause.
    """
    environment = engine_environment(engine, **command.variables)
    with tempfile.TemporaryFile() as errors, ExitStack() as stack:
        with interrupts_held():
            streams = {"stdin": given or subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": errors}
            process = stack.enter_context(start_process(command.arguments, command.cwd, environment, streams))

            def kill() -> None:
                if process.poll() is None:
                    signal_group(process.pid, signal.SIGKILL)

            stack.callback(kill)
        started = time.monotonic()
        if timeout is not None:
            timer = threading.Timer(timeout, kill)
            timer.start()
            stack.callback(timer.cancel)
        assert process.stdout is not None
        for line in process.stdout:
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                continue
            yield document
        code = process.wait()
        if timeout is not None and code < 0 and time.monotonic() - started >= timeout:
            raise EngineError(f"the engine {engine.python} gave no result in {timeout:g} s", "run `rlguide doctor`")
        if code != 0:
            errors.seek(0)
            cause = explain_failure(errors.read().decode("utf-8", "replace"), code)
            raise EngineError(f"{cause.what} (engine {engine.python})", "run `rlguide doctor`")
