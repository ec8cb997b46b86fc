"""The process of a trial: a `rlguide train` of its own, which outlives the sweep and is found again.

It inherits a lock of its own. So a sweep that was killed and is resumed knows whether the process still lives, also in
the seconds before its run has a record; what holds no lock is not running, and is resumed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import own_python, start_process
from rlguide.engine.running import openers
from rlguide.errors import RlguideError
from rlguide.runs.manage.stop import PATIENCE
from rlguide.sweeps.sweep import Sweep
from rlguide.sweeps.trials import run_name, run_of
from rlguide.workspace import Workspace, read_text

_POLL = 0.2
_SLOT = re.compile(r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]{1,100}", re.ASCII)  # one of CUDA_VISIBLE_DEVICES
_NOT_OVER = ("running", "queued", "unknown")  # states of a run; the last two of one in a cluster's queue


@dataclass
class TrialProcess:
    """A trial that runs.

    Attributes:
        lock: the file that its process holds.
        slot: the GPUs that it has, as CUDA_VISIBLE_DEVICES names them; "" for all.
        process: None for one that an earlier sweep has started.
    """

    ws: Workspace
    sweep: Sweep
    number: int
    lock: Path
    slot: str
    process: subprocess.Popen[bytes] | None = None
    _stopping: subprocess.Popen[bytes] | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, and all that trained for it, too."""
        if self.process is not None:
            self.process.poll()  # or it stays a zombie that holds nothing, but is there
        if _is_held(self.lock):
            return False
        run = run_of(self.ws, self.sweep, self.number)
        return run is None or run.status not in _NOT_OVER

    def ask_to_stop(self) -> None:
        """Tell it to stop as Ctrl-C does; it writes its record.

        Where its rlguide is gone (the engine trains on, or a cluster does), `rlguide stop` ends it.
        """
        pids = [pid for pid in openers(self.lock) if pid != os.getpid()]
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGTERM)
        if not pids and not self.is_over and self._stopping is None:
            name = run_name(self.sweep, self.number)
            command = rlguide_command("stop", name, "-w", str(self.ws.root))
            self._stopping = _start(command, self.ws.root, os.environ, self.ws.root / f"{name}.stop.log")

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait for its end after `ask_to_stop`. Raises RlguideError if it does not come."""
        deadline = time.monotonic() + seconds
        while not self.is_over:
            if not _is_held(self.lock):
                self.ask_to_stop()
            if self._stopping is not None:
                self._stopping.poll()
            if time.monotonic() > deadline:
                name = run_name(self.sweep, self.number)
                raise RlguideError(
                    f"{name} did not stop within {seconds:.0f} s", f"stop it: `rlguide stop {shlex.quote(name)}`"
                )
            time.sleep(_POLL)


def rlguide_command(*arguments: str) -> tuple[str, ...]:
    """The command that runs this rlguide."""
    return own_python("rlguide", *arguments)


def lock_of(ws: Workspace, sweep: Sweep, number: int) -> Path:
    """The file that the process of a trial holds."""
    path = ws.root / run_name(sweep, number)
    return path.with_name(f".{path.name}.lock")


def running_trial(ws: Workspace, sweep: Sweep, number: int) -> TrialProcess | None:
    """The process of a trial that an earlier sweep has started, if it still runs."""
    lock = lock_of(ws, sweep, number)
    found = TrialProcess(ws, sweep, number, lock, _slot_in(lock))
    return None if found.is_over else found


def start_trial(ws: Workspace, sweep: Sweep, number: int, arguments: Sequence[str], slot: str = "") -> TrialProcess:
    """Start the process of a trial; what it says goes into `trial-003.log`.

    Args:
        arguments: of rlguide.
        slot: the GPUs that it sees; "" for what this process sees.

    Raises:
        EngineError: it does not start. RlguideError: the folder cannot be written.
    """
    lock, log = lock_of(ws, sweep, number), ws.root / f"{run_name(sweep, number)}.log"
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": slot} if slot else {})}
    with interrupts_held():
        descriptor = _hold(lock, slot)
        try:
            process = _start(rlguide_command(*arguments), ws.root, environment, log, (descriptor,))
        finally:
            os.close(descriptor)  # the process has it now
    return TrialProcess(ws, sweep, number, lock, slot, process)


def run_to_end(arguments: Sequence[str], cwd: Path, log: Path, variables: Mapping[str, str]) -> int:
    """Run a rlguide to its end and return its exit code. Ctrl-C ends it, too."""
    process = _start(rlguide_command(*arguments), cwd, {**os.environ, **variables}, log)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        raise


def _start(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], log: Path, keep: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    with open(log, "wb", opener=_no_link) as output, interrupts_held():
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT, "pass_fds": keep}
        return start_process(command, cwd, environment, streams)


def _no_link(path: str, flags: int) -> int:
    """Open a file that is to be overwritten, not through a link: in somebody else's workspace that leads anywhere."""
    return os.open(path, flags | os.O_NOFOLLOW, 0o666)


def _hold(lock: Path, slot: str) -> int:
    """The descriptor of a lock that is held by whoever has it open. Raises RlguideError if it is taken."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, slot.encode())
    except OSError as error:
        os.close(descriptor)
        raise RlguideError(f"cannot hold {lock}: {error.strerror}", "run the same command again") from error
    return descriptor


def _is_held(lock: Path) -> bool:
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # of a pipe it would wait
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system that has no locks
        return bool(openers(lock))
    finally:
        os.close(descriptor)
    return False


def _slot_in(lock: Path) -> str:
    try:
        text = read_text(lock)
    except RlguideError:
        return ""
    return text if _SLOT.fullmatch(text) else ""
