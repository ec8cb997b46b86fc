"""A dataset of pairs seen as labelled answers: made from it, and made again when it has changed."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from typing import Any

from rlguide import console
from rlguide.errors import DataError, UsageError
from rlguide.preferences.labelled import from_pair, labelled_line
from rlguide.preferences.manifest import read_manifest
from rlguide.preferences.progress import Ticker
from rlguide.preferences.registry import (
    RegisteredDataset,
    check_registered,
    data_files,
    dataset_kind,
    read_pairs,
    read_registry,
)
from rlguide.preferences.staging import Staging
from rlguide.preferences.store import Publication, Tally, check_disk, publish, writing
from rlguide.workspace import Workspace

SEED = 42  # of the order of the rows: the same pairs give the same file, byte for byte
EXPANSION = 3.0  # the prompt twice, and a temporary copy
WAIT = 60.0  # seconds for another training that makes the same view


def kto_names(workspace: Workspace, names: list[str]) -> list[str]:
    """What KTO trains on for these datasets: the view of one of pairs, the dataset itself for one of labels.

    Raises:
        UsageError, DataError, RlguideError: like `kto_view`.
    """
    return [kto_view(workspace, name) if dataset_kind(workspace, name) == "pairs" else name for name in names]


def kto_view(workspace: Workspace, name: str) -> str:
    """Make the labelled view of a dataset of pairs, if it is not there or is out of date; return its name.

    `NAME_kto` has each chosen answer as a desirable row and each rejected one as an undesirable row, and
    `NAME_kto_test` the same of the held-out set, if there is one. Rows of one prompt are no neighbours (see `order`).

    Raises:
        UsageError: the dataset is not registered, or the name of the view is taken by something else.
        DataError: it is no dataset of pairs, has none, or is fetched by the engine itself.
        RlguideError: the disk is full or the folder cannot be written.
    """
    dataset = check_registered(workspace, [name])[0]
    sources = [dataset, *(check_registered(workspace, [dataset.heldout]) if dataset.heldout else [])]
    view = f"{name}_kto"
    origin = _origin(workspace, name, sources)
    if _is_current(workspace, view, origin):
        return view
    with writing(workspace, view, WAIT):
        if not _is_current(workspace, view, origin):
            _check_ours(workspace, view, name)
            _make(workspace, view, origin, sources)
    return view


def _origin(workspace: Workspace, name: str, sources: list[RegisteredDataset]) -> dict[str, Any]:
    """What the view depends on: the entries of its sources, and size and time of change of their files."""
    entries = read_registry(workspace)
    files = []
    for source in sources:
        if source.path is None:
            raise DataError(
                f"dataset {source.name} is fetched by the engine; rlguide has no file of it",
                "use `rlguide download` or `register`",
            )
        for file in data_files(source.path):
            status = file.stat()
            name_there = os.path.relpath(file, workspace.data)
            files.append({"file": name_there, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns})
    described = json.dumps([entries[source.name] for source in sources], sort_keys=True)
    return {
        "derived_from": name,
        "entries": hashlib.sha256(described.encode()).hexdigest(),
        "files": files,
    }


def _is_current(workspace: Workspace, view: str, origin: dict[str, Any]) -> bool:
    manifest = read_manifest(workspace, view)
    if manifest is None or not manifest.complete or manifest.source != origin:
        return False
    entries = read_registry(workspace)
    return all(
        file.unchanged(workspace.data) and entries.get(file.dataset, {}).get("file_name") == file.file
        for file in manifest.files
    )


def _check_ours(workspace: Workspace, view: str, name: str) -> None:
    """Refuse to replace a dataset, or a file, that is not an earlier state of this view."""
    manifest = read_manifest(workspace, view)
    if manifest is not None and manifest.source.get("derived_from") == name:
        return
    entries = read_registry(workspace)
    for taken in (view, f"{view}_test"):
        if taken in entries or (workspace.data / f"{taken}.jsonl").exists():
            raise UsageError(
                f"the labelled view of {name} would be {taken}, and there is a dataset or file of that name",
                f"rename one of them, or name {view} itself if it has labels",
            )


def _make(workspace: Workspace, view: str, origin: dict[str, Any], sources: list[RegisteredDataset]) -> None:
    check_disk(workspace, round(EXPANSION * sum(file["bytes"] for file in origin["files"])))
    console.say(f"{sources[0].name}: making labelled answers of its pairs for KTO ({view})")
    tally = Tally()
    with ExitStack() as stack:
        staged = []
        for source, target in zip(sources, (view, f"{view}_test"), strict=False):
            staging = stack.enter_context(Staging(workspace.data, target, SEED, apart=True))
            with Ticker(f"reading {source.name}", "rows", source.rows) as ticker:
                for pair in read_pairs(workspace, source.name):
                    for row in from_pair(pair):
                        staging.add(row, labelled_line(row))
                    tally.read += 1
                    ticker.update(len(staging) // 2)
            staged.append(staging)
        if not len(staged[0]):
            raise DataError(f"dataset {sources[0].name} has no pairs", "register the file again to see why")
        about = Publication(view, origin, {"seed": SEED}, tally, 0.0, labelled=True)
        publish(workspace, about, staged[0], staged[1] if len(staged) > 1 and len(staged[1]) else None)
