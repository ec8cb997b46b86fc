"""What `rlguide list` tells: the catalog's datasets and the user's own, and which of them are in the workspace."""

from __future__ import annotations

from dataclasses import dataclass

from rlguide import console
from rlguide.catalog.datasets import load_datasets
from rlguide.data.names import is_heldout
from rlguide.data.store.dataset_info import REMOTE_KEYS, Kind, entry_kind, is_view, read_registry
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.stale_views import outdated
from rlguide.errors import DataError
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Listed:
    """One line of the list. `rows` are pairs of the full set for the catalog's, of the file for one's own.

    `downloaded` is False also where a file has gone or a download was cut off; `local_rows` and `heldout_rows`
    count what is in the workspace. `note` corrects a number that other guides give. `kind` is "pairs" or "labels".
    """

    name: str
    hub_id: str | None
    languages: tuple[str, ...]
    rows: int | None
    licence: str | None
    purpose: str
    downloaded: bool
    local_rows: int | None
    heldout: str | None
    heldout_rows: int | None
    commit: str | None
    note: str | None
    kind: Kind = "pairs"


def list_datasets(workspace: Workspace) -> list[Listed]:
    """The catalog's datasets, then the preference datasets that only this workspace's registry has.

    A view (`views.kto_view`) is not listed: it is made of a dataset that is, and made again when it is needed.
    """
    try:
        entries = read_registry(workspace)
    except DataError as error:
        console.warn(f"{error.what}; {error.fix}")
        entries = {}
    listed = []
    shown: set[str] = set()
    for name, known in load_datasets().items():
        manifest = read_manifest(workspace, name)
        # A user's own dataset may bear a name of the catalog: it is not a download.
        if manifest is not None and manifest.source.get("hub_id") not in {known.hub_id, known.modelscope_id} - {None}:
            manifest = None
        there = manifest is not None and _whole(workspace, manifest) and name in entries
        state = _state(manifest if there else None)
        listed.append(
            Listed(name, known.hub_id, known.languages, known.rows, known.licence, known.purpose, *state, known.wrong)
        )
        if there and manifest is not None:
            shown.update(file.dataset for file in manifest.files)
    for name, entry in entries.items():
        kind = entry_kind(entry)
        if name in shown or kind == "other":
            continue
        if is_heldout(name, entries):
            continue  # shown with the dataset that it is held out from
        manifest = read_manifest(workspace, name)
        if is_view(entry) or (manifest is not None and "derived_from" in manifest.source):
            if source := outdated(workspace, name):
                console.warn(f"{name} was made of an earlier {source}; rlguide view {source} --use kto makes it again")
            continue
        there = manifest is not None and _whole(workspace, manifest)
        fetched = manifest.source.get("hub_id") if manifest is not None else None
        purpose = (
            "downloaded by its id" if fetched else "your own" if manifest is not None else "registered outside rlguide"
        )
        if kind == "labels":
            purpose += ": labels, for KTO"
        state = _state(manifest if there else None)
        here = there or ((workspace.data / str(entry.get("file_name", ""))).exists() and "file_name" in entry)
        hub_id = fetched or next((str(entry[key]) for key in REMOTE_KEYS if key in entry), None)
        listed.append(Listed(name, hub_id, (), state[1], None, purpose, here, *state[1:], None, kind))
    return listed


def _whole(workspace: Workspace, manifest: DataManifest) -> bool:
    return all((workspace.data / file.file).is_file() for file in manifest.files)


def _state(manifest: DataManifest | None) -> tuple[bool, int | None, str | None, int | None, str | None]:
    """downloaded, local rows, held-out name, held-out rows, commit."""
    if manifest is None:
        return False, None, None, None, None
    heldout = manifest.heldout
    return (
        True,
        manifest.files[0].rows,
        heldout.dataset if heldout else None,
        heldout.rows if heldout else None,
        manifest.source.get("commit"),
    )
