"""What shows a dataset's rows under other names (see `views`), and must go when the dataset is published anew.

KTO's rows are a copy: among those of an earlier split are prompts that are held out now. Entries for sft and ppo share
the dataset's file, and are right as long as that file is there and holds pairs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from rlguide.data.names import heldout_name, parent_name, view_name
from rlguide.data.store.dataset_info import (
    Entry,
    data_files,
    data_path,
    entry_kind,
    find_entry,
    is_intact,
    is_view,
    read_registry,
)
from rlguide.data.store.manifest import manifest_path, read_manifest, size_and_time
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace


class Outlived(NamedTuple):
    """Entries that show rows that are gone, and files that hold copies of such rows (names in the data folder)."""

    entries: list[str]
    files: list[str]


def outlived(
    workspace: Workspace, name: str, entries: dict[str, Entry], lost: Collection[str], kept: Collection[str]
) -> Outlived:
    """What shows the earlier rows of a dataset when it is published anew.

    Args:
        entries: dataset_info.json as it was before.
        lost: files that are deleted, or hold no pairs from now on. kept: files that hold the dataset's new pairs.
    """
    names = [other for other, entry in entries.items() if is_view(entry) and entry.get("file_name") in lost]
    whole = [(name, view_name(name, use)) for use in ("sft", "ppo")]
    for base, view in (*whole, *((heldout_name(base), heldout_name(view)) for base, view in whole)):
        # Of an entry that somebody else wrote, and that is replaced.
        file, shown = entries.get(base, {}).get("file_name"), entries.get(view, {})
        same = file is not None and shown.get("file_name") == file and shown.get("ranking") is False
        if same and file not in kept and view not in names:
            names.append(view)
    copy = read_manifest(workspace, view_name(name, "kto"))
    if copy is None or copy.derived_from != name:
        return Outlived(names, [])
    names += [file.dataset for file in copy.files if entries.get(file.dataset, {}).get("file_name") == file.file]
    return Outlived(names, [*(file.file for file in copy.files), manifest_path(workspace, copy.name).name])


def outdated(workspace: Workspace, name: str) -> str | None:
    """The dataset that KTO's rows, `name`, were made of, if it has changed since or is gone; else None."""
    view = parent_name(name)
    manifest = read_manifest(workspace, view)
    if manifest is None or not manifest.derived_from or all(file.dataset != name for file in manifest.files):
        return None
    with suppress(DataError, UsageError, OSError):
        if is_current(workspace, view, origin_of(workspace, manifest.derived_from)):
            return None
    return manifest.derived_from


def origin_of(workspace: Workspace, name: str) -> dict[str, Any]:
    """What the view depends on: the entries of its sources, and size and time of change of their files."""
    entries = read_registry(workspace)
    sources = {name: find_entry(workspace, entries, name)}
    heldout = heldout_name(name)
    if entry_kind(entries.get(heldout, {})) == "pairs":
        sources[heldout] = entries[heldout]
    paths = [path for source, entry in sources.items() for path in data_files(data_path(workspace, source, entry))]
    files = [{"file": os.path.relpath(path, workspace.data), **size_and_time(path)} for path in paths]
    return {
        "derived_from": name,
        "answers": "each once",  # earlier versions had some twice, with both labels
        "entries": _described(sources.values()),
        "files": files,
    }


def renamed_origin(
    origin: dict[str, Any], name: str, sources: Iterable[Entry], files: Mapping[str, str]
) -> dict[str, Any]:
    """What `origin_of` will be when the dataset is called `name`: with these entries, and its files under new names."""
    moved = [{**file, "file": files.get(file["file"], file["file"])} for file in origin["files"]]
    return {**origin, "derived_from": name, "entries": _described(sources), "files": moved}


def _described(sources: Iterable[Entry]) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(list(sources), sort_keys=True).encode()).hexdigest()


def is_current(workspace: Workspace, view: str, origin: dict[str, Any]) -> bool:
    """Whether the rows for KTO are there, whole, and made of what `origin` describes."""
    manifest = read_manifest(workspace, view)
    return manifest is not None and manifest.source == origin and is_intact(workspace, manifest)
