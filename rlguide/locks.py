"""Waiting for another rlguide that works on the same thing, and saying so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rlguide import console
from rlguide.errors import RlguideError

LONGEST = 3600.0  # seconds
PATIENCE = 2.0  # seconds of waiting without a word


@contextmanager
def in_turn(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock of a shared file (see `workspace.locked`); say `busy` if another rlguide has it for now.

    Raises:
        Locked: it has it for more than an hour. RlguideError: like `locked`.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(path, timeout=PATIENCE))
        except Locked:
            console.say(busy)
            stack.enter_context(locked(path, timeout=LONGEST))
        yield


class Locked(RlguideError):
    """Another process holds a lock for too long."""


@contextmanager
def locked(path: Path, timeout: float = 60.0) -> Iterator[None]:
    """Hold the lock of a shared file (`<dir>/.<name>.lock`) while it is read, changed and written.

    The lock's own file is there only while somebody holds or wants the lock. It is deleted by who holds it: others
    may have it open by then, and filelock (from 3.21 on) tells them that it has no name any more, so they begin anew.

    Raises:
        Locked: another process holds it for longer than `timeout` seconds.
        RlguideError: the folder cannot be written.
    """
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path.parent / f".{path.name}.lock", timeout=timeout)
        lock.acquire()
    except filelock.Timeout:
        raise Locked(
            f"{path} has been locked by another rlguide for {timeout:.0f} s",
            "wait for that command to end, then try again",
        ) from None
    except OSError as error:
        raise RlguideError(
            f"cannot write in {path.parent}: {error.strerror or error}", "choose a folder you may write to"
        ) from error
    try:
        yield
    finally:
        if isinstance(lock, filelock.UnixFileLock):  # not where the disk cannot lock, and the file itself is the lock
            with suppress(OSError):
                Path(lock.lock_file).unlink()
        lock.release()
