"""What belongs to a registered dataset and goes where it goes: its held-out split, views, files and records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlguide.data.names import heldout_name, parent_name, view_name, viewed_name
from rlguide.data.store.dataset_info import Entry, entry_kind, find_entry, read_registry
from rlguide.data.store.manifest import DataFile, DataManifest, read_manifest
from rlguide.workspace import Workspace

# Files of records and reports, beside the data.
DATA_SUFFIXES = (".parquet", ".jsonl")  # JSON lines of earlier versions
RECORDS = (".manifest.json", ".report.json", ".refused.json", ".inspect.html")


@dataclass(frozen=True)
class Belongings:
    """What belongs to a dataset.

    Attributes:
        entries: of dataset_info.json: its own, that of its held-out split, those of its views.
        manifests: of what rlguide wrote: its own and that of its rows for KTO.
        files: the data files that rlguide wrote, in the data folder.
        records: manifests, reports and pages, by their names in the data folder.
    """

    name: str
    entries: dict[str, Entry]
    manifests: list[DataManifest]
    files: list[DataFile]
    records: list[str]


def belongings(workspace: Workspace, name: str) -> Belongings:
    """What belongs to the dataset `name`.

    Raises:
        UsageError: it is not registered. DataError: dataset_info.json is broken.
    """
    registry = read_registry(workspace)
    find_entry(workspace, registry, name)
    manifests = [made for made in (_written(workspace, registry, name), _kto(workspace, registry, name)) if made]
    files = [file for manifest in manifests for file in manifest.files if _is_plain(manifest, file)]
    names = [name, *_heldout(workspace, registry, name)]
    views = [shown for base in names for shown in _shown(registry, base, name)]
    names += [*views, *(held for shown in views for held in _heldout(workspace, registry, shown))]
    names += [file.dataset for file in files if registry.get(file.dataset, {}).get("file_name") == file.file]
    entries = {own: registry[own] for own in dict.fromkeys(names)}
    bases = dict.fromkeys([name, *(file.dataset for file in files)]) if manifests else {}
    there = [f"{base}{end}" for base in bases for end in RECORDS if (workspace.data / f"{base}{end}").is_file()]
    return Belongings(name, entries, manifests, files, there)


def belongs_to(workspace: Workspace, name: str) -> tuple[str, str] | None:
    """The dataset that `name` is a part of, and which part: "held-out split" or "view"; None if it stands alone."""
    registry, base = read_registry(workspace), parent_name(name)
    whole = read_manifest(workspace, base)
    if whole is not None and any(file.dataset == name for file in whole.files):
        if whole.derived_from:
            return whole.derived_from, "view"
        return (base, "held-out split") if base != name else None
    for use in ("sft", "ppo"):
        pairs = viewed_name(base, use)
        shown = heldout_name(pairs) if name != base else pairs
        if pairs != base and entry_kind(registry.get(shown, {})) == "pairs" and name in _shown(registry, shown, pairs):
            return pairs, "view"
    return None


def same_file(workspace: Workspace, entry: Entry, file: str) -> bool:
    """Whether an entry names this file of the data folder, however it writes the path."""
    named = entry.get("file_name")
    return isinstance(named, str) and bool(named) and _place(workspace, named) == _place(workspace, file)


def _place(workspace: Workspace, file: str) -> Path:
    """Where a name leads, without following the file itself if it is a link."""
    path = workspace.data / file
    return path.parent.resolve() / path.name


def _is_plain(manifest: DataManifest, file: DataFile) -> bool:
    """Whether the file has a name that rlguide gives it. What a manifest says is no permission to touch others."""
    ours = (manifest.name, heldout_name(manifest.name))
    return file.dataset in ours and file.file in (f"{file.dataset}{end}" for end in DATA_SUFFIXES)


def _written(workspace: Workspace, registry: dict[str, Entry], name: str) -> DataManifest | None:
    """The manifest of a dataset whose entry, if it is there, still names the file that rlguide wrote."""
    manifest = read_manifest(workspace, name)
    if manifest is None or manifest.name != name or manifest.files[0].dataset != name:
        return None
    ours = name not in registry or same_file(workspace, registry[name], manifest.files[0].file)
    return manifest if ours else None


def _kto(workspace: Workspace, registry: dict[str, Entry], name: str) -> DataManifest | None:
    manifest = _written(workspace, registry, view_name(name, "kto"))
    return manifest if manifest is not None and manifest.derived_from == name else None


def _heldout(workspace: Workspace, registry: dict[str, Entry], name: str) -> Iterator[str]:
    """The name of what is held out, if it is registered: as every command takes it, an entry of the same kind."""
    heldout = heldout_name(name)
    alone = read_manifest(workspace, heldout) is not None
    if not alone and heldout in registry and entry_kind(registry[heldout]) == entry_kind(registry[name]):
        yield heldout


def _shown(registry: dict[str, Entry], base: str, name: str) -> Iterator[str]:
    """The views for sft and ppo of `base`, which is the dataset `name` or its held-out split: they share its file."""
    for use in ("sft", "ppo"):
        shown = view_name(name, use) if base == name else heldout_name(view_name(name, use))
        entry, file = registry.get(shown, {}), registry.get(base, {}).get("file_name")
        if file and entry.get("file_name") == file and entry_kind(entry) == "other":
            yield shown
