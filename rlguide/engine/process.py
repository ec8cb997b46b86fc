"""Run the engine in a process group of its own, with its output in a log file that is followed, not piped.

Output goes straight to a file: if rlguide dies (a closed terminal, a dropped ssh), training continues and its
log stays complete. A pipe would break the engine at its next print.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlguide.engine.events import Tail
from rlguide.engine.interrupts import interrupts_held
from rlguide.errors import EngineError

# Seconds that a group gets after each signal before the next, harder one.
_GRACE = ((signal.SIGINT, 10.0), (signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))


def own_python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that runs a module of the Python that runs this.

    -P: nothing is imported from the folder that it runs in, which is a workspace, perhaps of somebody else.
    """
    return (sys.executable, "-P", "-m", module, *arguments)


def start_process(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], streams: Mapping[str, Any]
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own: Ctrl-C reaches rlguide alone, which stops the whole group.

    Call it inside `interrupts_held`, until what it returns is in hands that will stop it.

    Args:
        streams: stdin, stdout and stderr, and what else it inherits, as for `subprocess.Popen`.

    Raises:
        EngineError: it does not start.
    """
    try:
        return subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **streams)
    except OSError as error:
        raise EngineError(f"cannot start {command[0]}: {error.strerror or error}", "run `rlguide doctor`") from error


class EngineProcess:
    """A running engine. Leaving the `with` block stops the whole group, whatever happened inside.

    Args:
        command: the argument list (never a shell line).
        log: file that takes stdout and stderr together, appended.
        keep: descriptors that it inherits.

    Raises:
        EngineError: it does not start.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        log: Path,
        keep: Sequence[int] = (),
    ) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log
        self._output = Tail(log)
        try:
            with log.open("ab") as output, interrupts_held():
                streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT, "pass_fds": keep}
                self.process = start_process(command, cwd, environment, streams)
        except KeyboardInterrupt:  # held back until there was a process to stop
            self.stop()
            raise

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def start(self) -> int:
        """Where in the log its output begins, in bytes."""
        return self._output.start

    @property
    def pid(self) -> int:
        """Process id, which is the id of the group too."""
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative if a signal ended it."""
        return self.process.poll()

    def lines(self, poll: float = 0.2) -> Iterator[str | None]:
        """Yield each line of output as it comes (a carriage return ends a line too), None at each idle `poll` seconds.

        Ends when the process has ended and its output is read out.
        """
        while True:
            ended = self.process.poll() is not None
            yield from self._output.lines(is_last=ended)
            if ended:
                return
            yield None
            self._wait(poll)

    def _wait(self, seconds: float) -> None:
        """Sleep, but no longer than the process runs."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass

    def stop(self) -> None:
        """End the whole group, as `stop_group`. Safe to call again, and after the end."""
        stop_group(self.pid, self.process.poll)
        self.process.wait()


def stop_group(group: int, reap: Callable[[], object] = lambda: None) -> None:
    """End a process group: politely, then firmly. Nothing if it is gone.

    The leader's exit is not enough: torchrun's workers and data loaders are waited for too. A second Ctrl-C while
    waiting goes straight to the last signal.

    Args:
        reap: called while waiting; for a child of this process, whose end must be taken note of.
    """
    steps = list(_GRACE)
    while steps and group_alive(group):
        number, grace = steps.pop(0)
        signal_group(group, number)
        try:
            _wait_for_group(group, grace, reap)
        except KeyboardInterrupt:
            steps = list(_GRACE[-1:])


def _wait_for_group(group: int, seconds: float, reap: Callable[[], object]) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and group_alive(group):
        reap()
        time.sleep(0.05)


def signal_group(group: int, number: int) -> None:
    """Send a signal to every process of a group; no error if it is gone."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def group_alive(group: int) -> bool:
    """Whether any process of the group still runs (a zombie does not run)."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


def is_alive(pid: Any) -> bool:
    """Whether a process of this id runs (a zombie does not)."""
    if not isinstance(pid, int):
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def birth_of(pid: int) -> str:
    """When a process began, as "<id of the boot>:<clock ticks since then>"; "" if none of this id runs.

    With its id it names one process for good: ids are given again, also after a restart of the host.
    """
    if not is_alive(pid):
        return ""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]  # field 22 of proc(5)
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}:{ticks}"
    except (OSError, IndexError):
        return ""


_LOG_TAIL = 200_000  # bytes of the log that are searched for the cause of a failure


def read_tail(path: Path, start: int = 0, size: int = _LOG_TAIL) -> str:
    """The last `size` bytes of a log as text, from `start` on at most."""
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(start, file.tell() - size))
        return file.read().decode("utf-8", "replace")
