"""What `rlguide list` tells: the catalog's datasets and the user's own, and which of them are in the workspace."""

from __future__ import annotations

from dataclasses import dataclass

from rlguide import console
from rlguide.catalog.datasets import load_datasets
from rlguide.data.names import is_heldout
from rlguide.data.store.dataset_info import REMOTE_KEYS, Entry, Kind, entry_kind, is_view, read_registry
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.stale_views import outdated
from rlguide.errors import DataError
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Listed:
    """One line of the list. `rows` are pairs of the full set for the catalog's, of the file for one's own.

    `downloaded` is False also where a file has gone or a download was cut off; `local_rows` and `heldout_rows`
    count what is in the workspace. `note` corrects a number that other guides give. `kind` is what its rows are.
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
    listed, shown = list[Listed](), set[str]()
    for name, known in load_datasets().items():
        manifest = read_manifest(workspace, name) if name in entries else None
        # A user's own dataset may bear a name of the catalog: it is not a download.
        if manifest is not None and manifest.source.get("hub_id") not in {known.hub_id, known.modelscope_id} - {None}:
            manifest = None
        state = _state(workspace, manifest)
        about = (known.hub_id, known.languages, known.rows, known.licence, known.purpose)
        listed.append(Listed(name, *about, *state, known.wrong))
        if state[0] and manifest is not None:
            shown.update(file.dataset for file in manifest.files)
    for name, entry in entries.items():
        # A held-out split is shown with the dataset that it is held out from.
        if name not in shown and entry_kind(entry) != "other" and not is_heldout(name, entries):
            listed += _own(workspace, name, entry)
    return listed


def _own(workspace: Workspace, name: str, entry: Entry) -> list[Listed]:
    """The line of a dataset that is not the catalog's; none for a view, of which only is said that it is outdated."""
    manifest = read_manifest(workspace, name)
    if is_view(entry) or (manifest is not None and "derived_from" in manifest.source):
        if source := outdated(workspace, name):
            console.warn(f"{name} was made of an earlier {source}; rlguide view {source} --use kto makes it again")
        return []
    hub_id = manifest.source.get("hub_id") if manifest is not None else None
    purpose = "downloaded by its id" if hub_id else "your own" if manifest is not None else "registered outside rlguide"
    kind = entry_kind(entry)
    purpose += {"labels": ": labels, for KTO", "responses": ": responses, for SFT"}.get(kind, "")
    state = _state(workspace, manifest)
    there = state[0] or ("file_name" in entry and (workspace.data / str(entry["file_name"])).exists())
    hub_id = hub_id or next((str(entry[key]) for key in REMOTE_KEYS if key in entry), None)
    return [Listed(name, hub_id, (), state[1], None, purpose, there, *state[1:], None, kind)]


def _state(
    workspace: Workspace, manifest: DataManifest | None
) -> tuple[bool, int | None, str | None, int | None, str | None]:
    """downloaded, local rows, held-out name, held-out rows, commit."""
    if manifest is None or not all((workspace.data / file.file).is_file() for file in manifest.files):
        return False, None, None, None, None
    train, heldout, commit = manifest.files[0], manifest.heldout, manifest.source.get("commit")
    return True, train.rows, heldout.dataset if heldout else None, heldout.rows if heldout else None, commit
