"""Whether a run's training is alive, and the lock that one training at a time holds on its folder.

The lock is an open file that the engine inherits: it is held as long as any process that trains lives, also when
rlguide is gone, and it vanishes with them, whatever ends them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rlguide.errors import RlguideError, UsageError

LOCK = ".training.lock"
EVENTS = "events.jsonl"


@contextmanager
def held(folder: Path, name: str) -> Iterator[int]:
    """Hold a run's folder; yields the descriptor that the engine is to inherit.

    Raises:
        UsageError: something trains there. RlguideError: the folder cannot be written.
    """
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise RlguideError(
            f"cannot write in {folder}: {error.strerror or error}", "choose another folder with --output-dir"
        ) from error
    try:
        if not _locked(descriptor) or not _is_file(descriptor, path):  # or it was deleted meanwhile, by who held it
            raise UsageError(f"{name} is still training", f"wait for its end; {how_to_watch(name)}")
        try:
            yield descriptor
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def how_to_watch(name: str) -> str:
    """The words for following a run, by its name in the workspace."""
    return f"watch it: `rlguide watch {shlex.quote(name)}`"


def is_training(folder: Path, group: int | None) -> bool:
    """Whether something trains in this folder: it holds the lock, or it is in the process group that is recorded.

    A recorded group is believed only if one of its processes works on this folder's events: after a restart of the
    host or the container its number may belong to anything.
    """
    if group is not None and _works_there(folder, group):
        return True
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _locked(descriptor)
    finally:
        os.close(descriptor)  # which frees the lock again


def holders(folder: Path) -> list[int]:
    """The processes of this user on this host that hold a run's folder: its rlguide, and those that train."""
    return openers(folder / LOCK)


def openers(file: Path) -> list[int]:
    """The processes of this user on this host that have a file open."""
    name = os.fspath(file.resolve())
    return sorted(int(process.name) for process in Path("/proc").glob("[0-9]*") if _has_open(process, name))


def _has_open(process: Path, file: str) -> bool:
    try:
        links = list((process / "fd").iterdir())
    except OSError:  # gone, or another user's
        return False
    for link in links:
        with suppress(OSError):  # closed meanwhile, which says nothing of the others
            if os.readlink(link) == file:  # noqa: PTH115  (it is no path of ours)
                return True
    return False


def _locked(descriptor: int) -> bool:
    """Take the lock, if nobody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system that has no locks
        return True
    return True


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _works_there(folder: Path, group: int) -> bool:
    wanted = os.fsencode(folder / EVENTS)
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[2]) != group or fields[0] in "ZX":
                continue
            arguments = status.with_name("cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if wanted in arguments:
            return True
    return False
