"""Putting finished files in place, all or nothing, also when the process is killed or the power goes.

Files are first written whole under temporary names. Then one small file, `data/.<name>.pending.json`, says what is to
be done: which files to move where, which to delete, what to register. Its renaming is the one moment that counts:
before it nothing has happened, after it everything will, if need be by the next command (`settle`).
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlguide.errors import DataError, RlguideError
from rlguide.workspace import Workspace, locked, read_json, write_json

PENDING = re.compile(r"\.(.+)\.pending\.json")
# Temporary files: a dataset's rows (`staging.temporary`), and those of `workspace.atomic_write`.
LEFT_OVER = re.compile(
    r"\.{1,2}(.+?)(?:~[a-z-]+(?:\.tmp\.\w{8})?|\.(?:(?:manifest|report|refused|pending)\.json|inspect\.html)\.\w{8})\.tmp"
)
LOCK = re.compile(r"\.(.+)\.dataset\.lock")  # there without a holder: of a killed run, or of an earlier version
LEFT_OVER_REGISTRY = re.compile(r"\.dataset_info\.json\.\w{8}\.tmp")


@dataclass(frozen=True)
class Change:
    """What is to be done for one dataset. Names of files are relative to the data folder.

    moves: temporary name -> final name. delete: files of an earlier version. entries: to put into dataset_info.json;
    drop: names to take out. manifest: its whole content.
    """

    name: str
    moves: dict[str, str]
    manifest: dict[str, Any]
    entries: dict[str, dict[str, Any]]
    delete: list[str] = field(default_factory=list)
    drop: list[str] = field(default_factory=list)


def lock_path(workspace: Workspace, name: str) -> Path:
    """What is locked (see `workspace.locked`) while a dataset is made."""
    return workspace.data / f"{name}.dataset"


def commit(workspace: Workspace, change: Change) -> None:
    """Do what `change` says, for good. The caller holds the dataset's lock.

    Raises:
        DataError: dataset_info.json is broken. RlguideError: the disk is full. Nothing is changed then, or, if the
            disk failed in between, the next command does the rest.
    """
    write_json(_pending(workspace, change.name), asdict(change))
    _sync(workspace.data)
    _carry_out(workspace, change)


def _pending(workspace: Workspace, name: str) -> Path:
    return workspace.data / f".{name}.pending.json"


def _carry_out(workspace: Workspace, change: Change) -> None:
    """May be called again after a kill at any point: each step is skipped if it has been taken."""
    from rlguide.preferences.registry import change_registry

    for source, target in change.moves.items():
        if (workspace.data / source).exists():
            (workspace.data / source).replace(workspace.data / target)
    change_registry(workspace, change.entries, tuple(change.drop))
    write_json(workspace.data / f"{change.name}.manifest.json", change.manifest)
    for old in change.delete:
        (workspace.data / old).unlink(missing_ok=True)
    _sync(workspace.data)
    _pending(workspace, change.name).unlink(missing_ok=True)


def _read(path: Path) -> Change:
    """Raises DataError if the file is none that this version wrote, or names files outside the data folder."""
    loaded = read_json(path)
    try:
        change = Change(**loaded)
        names = [*change.moves, *change.moves.values(), *change.delete, change.name]
        if any("/" in name or "\\" in name for name in names):
            raise ValueError
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is not what this version of rlguide writes", "delete it, then take the dataset in again"
        ) from error
    return change


def _sync(folder: Path) -> None:
    """Make renames last through a power failure, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network disks cannot
    finally:
        os.close(descriptor)


def recover(workspace: Workspace, name: str) -> str | None:
    """Finish or clear away what a killed run left of one dataset; say what was done. The caller holds its lock."""
    done = None
    pending = _pending(workspace, name)
    if pending.exists():
        _carry_out(workspace, _read(pending))
        done = f"{name}: finished what an interrupted run had begun"
    freed = _remove_leftovers(workspace, name)
    if freed and done is None:
        from rlguide.preferences.progress import format_bytes

        done = f"{name}: removed what an interrupted run had left ({format_bytes(freed)})"
    return done


def abandon(workspace: Workspace, name: str) -> None:
    """Clear away what a run that fails has written, unless it was committed. The caller holds the dataset's lock."""
    with suppress(OSError):  # the failure itself is what will be told; the next command tries again
        if not _pending(workspace, name).exists():
            _remove_leftovers(workspace, name)


def _remove_leftovers(workspace: Workspace, name: str) -> int:
    """Delete the temporary files of a dataset; return how many bytes they had."""
    freed = 0
    for path in workspace.data.iterdir():
        match = LEFT_OVER.fullmatch(path.name)
        if match and match[1] == name:
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed


def settle(workspace: Workspace) -> None:
    """Finish or clear away what killed runs left in the workspace. Every command begins with this; it costs one look
    into the data folder. What another rlguide is working on is left alone, and so is what cannot be read or written.
    """
    try:
        names = [entry.name for entry in os.scandir(workspace.data) if entry.name.startswith(".")]
    except OSError:
        return
    marks = (PENDING, LEFT_OVER, LOCK)
    waiting = {match[1] for name in names for mark in marks if (match := mark.fullmatch(name))}
    for dataset in sorted(waiting):
        _try_to_recover(workspace, dataset)
    if any(LEFT_OVER_REGISTRY.fullmatch(name) for name in names):
        _clear_registry_leftovers(workspace)


def _try_to_recover(workspace: Workspace, dataset: str) -> None:
    from rlguide import console

    try:
        with locked(lock_path(workspace, dataset), timeout=0):
            done = recover(workspace, dataset)
    except DataError as error:
        console.warn(f"an interrupted run of {dataset} cannot be finished: {error.what}; {error.todo}")
    except (RlguideError, OSError):
        return  # another rlguide is at it, or this folder is read-only
    else:
        if done:
            console.say(done)


def _clear_registry_leftovers(workspace: Workspace) -> None:
    try:
        with locked(workspace.dataset_info.resolve(), timeout=0):
            for path in workspace.data.iterdir():
                if LEFT_OVER_REGISTRY.fullmatch(path.name):
                    path.unlink(missing_ok=True)
    except (RlguideError, OSError):
        return
