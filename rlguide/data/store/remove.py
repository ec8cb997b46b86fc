"""Taking a dataset out of the workspace: entries, files that rlguide wrote, records and views, in one step."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import dataclass

from rlguide.data.names import parent_name, view_name
from rlguide.data.store import journal
from rlguide.data.store.belongings import Belongings, belongings, same_file
from rlguide.data.store.dataset_info import REMOTE_KEYS, Entry, read_registry
from rlguide.data.store.manifest import DataFile, read_manifest
from rlguide.data.store.publish import writing
from rlguide.data.store.registered import file_digest
from rlguide.errors import UsageError
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Removal:
    """What goes with a dataset, and what stays.

    Attributes:
        entries: names that are taken out of dataset_info.json.
        files: what is deleted: names in the data folder, and bytes.
        kept: what stays, each with the reason.
    """

    name: str
    entries: list[str]
    files: dict[str, int]
    kept: list[str]


def plan_removal(workspace: Workspace, name: str) -> Removal:
    """What `remove` would do; nothing is changed.

    Raises:
        UsageError: it is not registered, or is the held-out split of another dataset.
        DataError: dataset_info.json is broken.
    """
    owned, registry, base = belongings(workspace, name), read_registry(workspace), parent_name(name)
    whole = read_manifest(workspace, base) if base != name and base in registry else None
    if whole is not None and any(file.dataset == name for file in whole.files):
        raise UsageError(f"{name} is what {base} holds out, and goes with it", f"rlguide remove {shlex.quote(base)}")
    others = {other: entry for other, entry in registry.items() if other not in owned.entries}
    files, kept = dict[str, int](), list[str]()
    for file in owned.files:
        if why := _why_it_stays(workspace, others, file):
            kept.append(f"data/{file.file}: {why}")
        elif (workspace.data / file.file).is_file():
            files[file.file] = (workspace.data / file.file).lstat().st_size
    files.update({record: (workspace.data / record).lstat().st_size for record in owned.records})
    kept += _not_ours(workspace, owned, others)
    return Removal(name, list(owned.entries), files, kept)


def remove(workspace: Workspace, name: str) -> Removal:
    """Remove a dataset with its held-out split, views and records; return what went. Raises as `plan_removal`.

    All or nothing, whenever the process is killed. Files that rlguide did not write, or that have changed since, or
    that another entry shows, stay.
    """
    with ExitStack() as stack:
        for locked in (name, view_name(name, "kto")):
            stack.enter_context(writing(workspace, locked))
        plan = plan_removal(workspace, name)
        journal.commit(workspace, journal.Change(name, {}, {}, {}, delete=list(plan.files), drop=plan.entries))
    return plan


def _why_it_stays(workspace: Workspace, others: dict[str, Entry], file: DataFile) -> str:
    """Why a data file that rlguide wrote is not deleted, "" if it is."""
    if shown := _shown_by(workspace, others, file.file):
        return shown
    path = workspace.data / file.file
    if path.is_file() and not file.unchanged(workspace.data) and file_digest(path) != file.sha256:
        return "it has been changed since rlguide wrote it"
    return ""


def _shown_by(workspace: Workspace, others: dict[str, Entry], file: str) -> str:
    """Which other dataset shows a file of the data folder, in words; "" if none does."""
    shared = (name for name, entry in others.items() if same_file(workspace, entry, file))
    return next((f"dataset {name} shows it, too" for name in shared), "")


def _not_ours(workspace: Workspace, owned: Belongings, others: dict[str, Entry]) -> list[str]:
    """Files that the entries name and rlguide did not write."""
    kept = dict[str, None]()
    for entry in owned.entries.values():
        named = entry.get("file_name")
        if not isinstance(named, str) or any(key in entry for key in REMOTE_KEYS):
            continue
        if not any(same_file(workspace, entry, file.file) for file in owned.files):
            path = workspace.relative(workspace.data / named)
            kept[f"{path}: {_shown_by(workspace, others, named) or 'rlguide did not write it'}"] = None
    return list(kept)
