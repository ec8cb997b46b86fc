"""Putting finished files in place, all or nothing, also when the process is killed or the power goes.

Files are first written whole under temporary names. Then one small file, `data/.<name>.pending.json`, says what is to
be done: which files to move where, which to delete, what to register. Its renaming is the one moment that counts:
before it nothing has happened, after it everything will, if need be by the next command (`settle`).
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.errors import DataError, RlguideError
from rlguide.locks import locked
from rlguide.workspace import Workspace, read_json, write_json

PENDING = re.compile(r"\.(.+)\.pending\.json")
# Temporary files: a dataset's rows (`staging.temporary`), and those of `workspace.atomic_write`.
LEFT_OVER = re.compile(
    r"\.{1,2}(.+?)(?:~(?:train|test|train-rows|test-rows|report)(?:\.tmp\.\w{8})?|\.(?:(?:manifest|report|refused|pending)\.json|inspect\.html)\.\w{8})\.tmp"
)

PAGE_SECONDS = 60.0  # far longer than it takes to write a page
LOCK = re.compile(r"\.(.+)\.dataset\.lock")  # there without a holder: of a killed run, or of an earlier version


@dataclass(frozen=True)
class Change:
    """What is to be done for one dataset. Names of files are relative to the data folder."""

    name: str
    moves: dict[str, str]  # temporary name -> final name
    manifest: dict[str, Any]  # its whole content; {} to write none
    entries: dict[str, dict[str, Any]]  # to put into dataset_info.json
    delete: list[str] = field(default_factory=list)  # files of an earlier version
    drop: list[str] = field(default_factory=list)  # names to remove from dataset_info.json
    other_manifests: dict[str, dict[str, Any]] = field(default_factory=dict)  # of its views, by their names

    @property
    def manifests(self) -> dict[str, dict[str, Any]]:
        """All manifests to write, by the names of their files."""
        both = {**({self.name: self.manifest} if self.manifest else {}), **self.other_manifests}
        return {f"{name}.manifest.json": manifest for name, manifest in both.items()}


def lock_path(workspace: Workspace, name: str) -> Path:
    """What is locked (see `workspace.locked`) while a dataset is made."""
    return workspace.data / f"{name}.dataset"


def is_locked(workspace: Workspace, name: str) -> bool:
    """Whether a dataset is being made at this moment (see `locks.locked`), or its lock was left there."""
    path = lock_path(workspace, name)
    return path.with_name(f".{path.name}.lock").exists()


def commit(workspace: Workspace, change: Change) -> None:
    """Do what `change` says, for good. The caller holds the dataset's lock.

    Raises DataError for a broken dataset_info.json, RlguideError for a full disk or a folder that has the name of a
    file. Nothing is changed then, or, if the disk failed in between, the next command does the rest.
    """
    for target in (*change.moves.values(), *change.manifests, *change.delete):
        check_no_folder(workspace.data / target)
    write_json(_pending(workspace, change.name), asdict(change))
    _sync(workspace.data)
    _carry_out(workspace, change)


def check_no_folder(path: Path) -> None:
    """Raises RlguideError if there is a folder where a file is to be."""
    if path.is_dir():
        raise RlguideError(f"{path} is a folder, not a file", "move it away, or choose another name with --name")


def _pending(workspace: Workspace, name: str) -> Path:
    return workspace.data / f".{name}.pending.json"


def _carry_out(workspace: Workspace, change: Change) -> None:
    """May be called again after a kill at any point: each step is skipped if it has been taken."""
    from rlguide.data.store.dataset_info import change_registry

    folder = workspace.data
    try:
        for source, target in change.moves.items():
            if (folder / source).exists():
                (folder / source).replace(folder / target)
        change_registry(workspace, change.entries, tuple(change.drop))
        for file, manifest in change.manifests.items():
            write_json(folder / file, manifest)
        for old in change.delete:
            (folder / old).unlink(missing_ok=True)
        _sync(folder)
        _pending(workspace, change.name).unlink(missing_ok=True)
    except OSError as error:
        raise RlguideError(
            f"cannot put {change.name} in place in {folder}: {error.strerror or error}",
            "remove the cause; the next command finishes it",
        ) from error


def _read(path: Path) -> Change:
    """Raises DataError if this version did not write the file, or names files outside the data folder."""
    loaded = read_json(path)
    try:
        change = Change(**loaded)
        objects = (change.manifest, change.entries, *change.entries.values(), change.other_manifests)
        if not all(isinstance(value, dict) for value in (*objects, *change.other_manifests.values())):
            raise TypeError
        if not all(isinstance(value, list) for value in (change.delete, change.drop)):
            raise TypeError
        names = [*change.moves, *change.moves.values(), *change.delete, *change.other_manifests, change.name]
        if not all(isinstance(name, str) for name in (*names, *change.drop)):
            raise TypeError
        if any("/" in name or "\\" in name for name in names):
            raise ValueError
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} is not what this version of rlguide writes", "delete it, then import the dataset again"
        ) from error
    return change


def _sync(folder: Path) -> None:
    """Make renames last through a power failure, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    with suppress(OSError):  # some network disks cannot
        os.fsync(descriptor)
    os.close(descriptor)


def recover(workspace: Workspace, name: str) -> None:
    """Finish or clear away what a killed run left of one dataset; say what was done. The caller holds its lock."""
    pending = _pending(workspace, name)
    if interrupted := pending.exists():
        _carry_out(workspace, _read(pending))
        console.say(f"{name}: finished what an interrupted run had begun")
    freed = _remove_leftovers(workspace, name)
    if freed and not interrupted:
        from rlguide.progress import format_bytes

        console.say(f"{name}: removed what an interrupted run had left ({format_bytes(freed)})")


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
        if match and match[1] == name and path.is_file() and not _may_be_in_use(path):
            freed += path.stat().st_size
            path.unlink(missing_ok=True)
    return freed


def _may_be_in_use(path: Path) -> bool:
    """Whether this is a page that `rlguide inspect`, which holds no lock, may be writing at this moment."""
    return ".inspect.html." in path.name and time.time() - path.stat().st_mtime < PAGE_SECONDS


def settle(workspace: Workspace) -> None:
    """Finish or clear away what killed runs left in the workspace. Every command begins with this; it costs two looks
    into the data folder. What another rlguide is working on is left alone, and so is what cannot be read or written.
    """
    marks = (PENDING, LEFT_OVER, LOCK)
    waiting = {match[1] for name in _hidden(workspace.data) for mark in marks if (match := mark.fullmatch(name))}
    for dataset in sorted(waiting):
        _try_to_recover(workspace, dataset)
    _clear_registry_leftovers(workspace)


def _hidden(folder: Path) -> list[str]:
    with suppress(OSError):
        return [path.name for path in folder.iterdir() if path.name.startswith(".")]
    return []


def _try_to_recover(workspace: Workspace, dataset: str) -> None:
    # Else another rlguide is at it, or this folder is read-only.
    with suppress(RlguideError, OSError), locked(lock_path(workspace, dataset), timeout=0):
        try:
            recover(workspace, dataset)
        except RlguideError as error:
            console.warn(f"an interrupted run of {dataset} cannot be finished: {error.what}; {error.fix}")


def _clear_registry_leftovers(workspace: Workspace) -> None:
    """Also where dataset_info.json is a link: it is written where the link points."""
    registry = Path(os.path.realpath(workspace.dataset_info))
    pattern = re.compile(rf"\.{re.escape(registry.name)}\.\w{{8}}\.tmp")
    left = [registry.parent / name for name in _hidden(registry.parent) if pattern.fullmatch(name)]
    if left:
        with suppress(RlguideError, OSError), locked(registry, timeout=0):
            for path in left:
                path.unlink(missing_ok=True)
