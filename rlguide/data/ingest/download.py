"""`rlguide download`: a dataset from a hub to registered files in the workspace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset
from rlguide.data.hubs import client as hub
from rlguide.data.hubs.base import HubFile, Snapshot
from rlguide.data.ingest.options import DownloadOptions
from rlguide.data.ingest.pipeline import ImportJob, Piece, describe, import_each, look, run
from rlguide.data.sources.fetch_plan import find_fetch_plans
from rlguide.data.sources.resolve import find_requested
from rlguide.data.store.dataset_info import is_intact
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.publish import check_free, check_space, writing
from rlguide.errors import UsageError
from rlguide.hub_settings import is_offline
from rlguide.progress import format_bytes
from rlguide.workspace import Workspace


def download_all(workspace: Workspace, names: list[str], options: DownloadOptions) -> None:
    """Download datasets one after the other and report each.

    Raises UsageError for a name or an option that cannot be meant, before anything is started; else as `import_each`.
    """
    datasets = _check_options(names, options)
    if options.dry_run:
        for dataset in datasets:
            branch = options.revision or hub.HUBS[options.hub]
            look(_job(workspace, dataset, options, hub.find_snapshot(dataset.hub_id, branch, options.hub)))
        return
    import_each(((one.name, one) for one in datasets), lambda one: download(workspace, one, options))


def _check_options(names: list[str], options: DownloadOptions) -> list[CatalogDataset]:
    """The datasets meant. Raises UsageError for an unknown name or an option that cannot be meant."""
    hub.check_hub(options.hub)
    if options.force and is_offline():
        raise UsageError(
            "HF_HUB_OFFLINE forbids fetching again, which --force asks for", "unset it, or leave out --force"
        )
    datasets = find_requested(names, options.hub, options.selection, options.name)
    for dataset in datasets:
        options.of_rows(dataset).check()
        if dataset.languages and not set(options.languages) <= set(dataset.languages):
            raise UsageError(
                f"{dataset.name} has no {options.filters.lang} part (it is {', '.join(dataset.languages)})",
                "leave out --lang",
            )
    return datasets


def download(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> tuple[DataManifest, list[str]]:
    """Fetch, check, write and register one dataset; does nothing if the same commit and options are there.

    Returns what is there now, and the lines that tell a person so.

    Raises:
        HubError: the hub cannot be reached or does not have it. DataError: what it gave is broken.
        UsageError: the name is taken by something that this did not make. RlguideError: disk.
    """
    with writing(workspace, dataset.name):
        check_free(workspace, dataset.name, options.force, {"hub_id": dataset.hub_id})
        branch = options.revision or hub.HUBS[options.hub]
        earlier = None if options.force else _already_there(workspace, dataset, options)
        if earlier is not None:
            source = earlier.source
            if branch == source["commit"] or (is_offline() and branch == source["revision"]):
                return earlier, [_still_there(earlier)]
        console.say(f"{dataset.name}: asking for {dataset.hub_id} at {branch}")
        snapshot = hub.find_snapshot(dataset.hub_id, branch, options.hub)
        if earlier is not None and snapshot.commit == earlier.source["commit"]:
            return earlier, [_still_there(earlier)]
        if (there := read_manifest(workspace, dataset.name)) is not None:
            why = "--force" if options.force else "other options or another commit"
            rows = sum(file.rows for file in there.files)
            console.say(f"{dataset.name}: the {rows:,} rows that are there will be replaced ({why})")
        done = run(workspace, _job(workspace, dataset, options, snapshot))
        return done.manifest, [*describe(done), f"  from {snapshot.hub_id} at commit {snapshot.commit[:12]}"]


def _already_there(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> DataManifest | None:
    """The manifest of an earlier, whole, untouched download with the same options."""
    manifest = read_manifest(workspace, dataset.name)
    if manifest is None or "commit" not in manifest.source or manifest.options != options.recorded():
        return None
    return manifest if is_intact(workspace, manifest) else None


def _still_there(manifest: DataManifest) -> str:
    train, heldout = manifest.files[0], manifest.heldout
    held_out = f", {heldout.rows:,} held out as {heldout.dataset}" if heldout is not None else ""
    rows = f"{train.rows:,} rows in data/{train.file} ({format_bytes(train.bytes)}){held_out}"
    return f"{manifest.name}: already there at commit {str(manifest.source['commit'])[:12]}: {rows}"


def _job(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions, snapshot: Snapshot) -> ImportJob:
    plans = find_fetch_plans(snapshot, dataset, options.languages, options.selection)
    files = [file for plan in plans for file in (*plan.heldout, *plan.train)]
    if options.filters.max_samples is not None:
        files = files[:1]  # how many files are needed shows only as they are read
    check_space(workspace, [(file.path, file.bytes or 0) for file in files])
    fetched: list[dict[str, Any]] = []

    def piece(file: HubFile) -> Piece:
        """A file that is fetched into the client's cache; what came is noted in `fetched`."""

        def fetch() -> Path:
            path, digest = hub.fetch_file(snapshot, file, options.force)
            fetched.append({"path": file.path, "bytes": path.stat().st_size, "sha256": digest})
            return path

        return Piece(f"{file.path} of {snapshot.hub_id}", fetch)

    where = {"hub": snapshot.hub, "hub_id": snapshot.hub_id}
    known = bool(dataset.parts)
    return ImportJob(
        dataset.name,
        [[piece(file) for file in plan.train] for plan in plans],
        [piece(file) for plan in plans for file in plan.heldout],
        options.of_rows(dataset),
        options.recorded(),
        {**where, "revision": snapshot.revision, "commit": snapshot.commit, "files": fetched},
        advice="its layout may have changed on the hub: name an older commit with --revision"
        if known
        else "another --split, --subset or --file of it may hold pairs",
        expected=dataset.rows if known and not options.languages else None,
        enough=True,
        published=known,
    )
