"""`rlguide download`: a dataset from a hub to registered files in the workspace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset
from rlguide.data.curate.language import languages
from rlguide.data.hubs import client as hub
from rlguide.data.hubs.base import HubFile, Snapshot
from rlguide.data.ingest.pipeline import MOST_REFUSED, ImportJob, ImportResult, IngestOptions, Piece, next_steps, run
from rlguide.data.ingest.pipeline import describe as describe_intake
from rlguide.data.sources.fetch_plan import FetchPlan, find_fetch_plans
from rlguide.data.sources.resolve import find_requested
from rlguide.data.sources.splits import ANYTHING, FileSelection
from rlguide.data.store.dataset_info import is_intact
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.data.store.publish import check_free, check_space, writing
from rlguide.errors import RlguideError, UsageError
from rlguide.hub_settings import is_offline
from rlguide.progress import format_bytes
from rlguide.workspace import Workspace

MOST_REFUSED_OF_CATALOG = 0.2  # nobody can mend a published set; with more it is not the set that the catalog describes


@dataclass(frozen=True)
class DownloadOptions:
    """What of a dataset is fetched and how it is taken in.

    lang: a part of a bilingual dataset of the catalog ("en", "zh"), elsewhere the language that rows must be in;
    "both" for all. revision: branch, tag or commit (None: the usual branch of the hub). hub: "hf" or "modelscope".
    name: the name in the workspace. wanted: split, subset or files, if they are named.
    """

    lang: str = "both"
    how: IngestOptions = field(default_factory=IngestOptions)
    revision: str | None = None
    force: bool = False
    hub: str = "hf"
    name: str | None = None
    wanted: FileSelection = ANYTHING

    @property
    def branch(self) -> str:
        """The revision to ask for."""
        return self.revision or hub.HUBS[self.hub]

    @property
    def languages(self) -> list[str]:
        """The codes in `lang`; none for all languages."""
        return [] if self.lang == "both" else languages(self.lang)

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest; two equal ones of the same commit give the same files."""
        where = {"hub": self.hub} if self.hub != "hf" else {}
        return {**self.how.recorded(), "lang": self.lang, **self.wanted.recorded(), **where}


@dataclass(frozen=True)
class Downloaded:
    """A dataset that is there now. `result` is None if it already was."""

    manifest: DataManifest
    result: ImportResult | None = None


def check_options(names: list[str], options: DownloadOptions) -> list[CatalogDataset]:
    """The datasets meant. Raises UsageError for an unknown name or an option that cannot be meant."""
    hub.check_hub(options.hub)
    if options.force and is_offline():
        raise UsageError(
            "HF_HUB_OFFLINE forbids to fetch again, which --force asks for", "unset it, or leave out --force"
        )
    datasets = find_requested(names, options.hub, options.wanted, options.name)
    for dataset in datasets:
        _how(dataset, options).check()
        if dataset.languages and not set(options.languages) <= set(dataset.languages):
            raise UsageError(
                f"{dataset.name} has no {options.lang} part (it is {', '.join(dataset.languages)})", "leave out --lang"
            )
    return datasets


def _how(dataset: CatalogDataset, options: DownloadOptions) -> IngestOptions:
    """A language is a part of some datasets; of others it is a filter of rows."""
    if options.lang == "both" or (dataset.has_languages and dataset.parts):
        return options.how
    return replace(options.how, filters=replace(options.how.filters, lang=options.lang))


def download(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> Downloaded:
    """Fetch, check, write and register one dataset; does nothing if the same commit and options are there.

    Raises:
        HubError: the hub cannot be reached or does not have it. DataError: what it gave is broken.
        UsageError: the name is taken by something that this did not make. RlguideError: disk.
    """
    with writing(workspace, dataset.name):
        check_free(workspace, dataset.name, options.force, {"hub_id": dataset.hub_id})
        earlier = None if options.force else _already_there(workspace, dataset, options)
        if earlier is not None and options.branch == earlier.source["commit"]:
            return Downloaded(earlier)
        if earlier is not None and is_offline() and options.branch == earlier.source["revision"]:
            return Downloaded(earlier)
        console.say(f"{dataset.name}: asking for {dataset.hub_id} at {options.branch}")
        snapshot = hub.find_snapshot(dataset.hub_id, options.branch, options.hub)
        if earlier is not None and snapshot.commit == earlier.source["commit"]:
            return Downloaded(earlier)
        if (there := read_manifest(workspace, dataset.name)) is not None:
            why = "--force" if options.force else "other options or another commit"
            rows = sum(file.rows for file in there.files)
            console.say(f"{dataset.name}: the {rows:,} rows that are there will be replaced ({why})")
        done = _make(workspace, dataset, options, snapshot)
        return Downloaded(done.manifest, done)


def _already_there(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> DataManifest | None:
    """The manifest of an earlier, whole, untouched download with the same options."""
    manifest = read_manifest(workspace, dataset.name)
    if manifest is None or "commit" not in manifest.source or manifest.options != options.recorded():
        return None
    return manifest if is_intact(workspace, manifest) else None


def _make(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions, snapshot: Snapshot) -> ImportResult:
    how = _how(dataset, options)
    plans = find_fetch_plans(snapshot, dataset, options.languages, options.wanted)
    _check_space(workspace, plans, how)
    held_out = [file for plan in plans for file in plan.heldout]
    fetched: list[dict[str, Any]] = []

    def piece(file: HubFile) -> Piece:
        return Piece(f"{file.path} of {snapshot.hub_id}", _fetch(snapshot, file, options.force, fetched))

    whole = options.lang == "both" and bool(dataset.parts)
    job = ImportJob(
        dataset.name,
        [[piece(file) for file in plan.train] for plan in plans],
        [piece(file) for file in held_out],
        expected=dataset.rows if whole else None,
        enough=True,
        published=bool(dataset.parts),
        most_refused=MOST_REFUSED_OF_CATALOG if dataset.parts else MOST_REFUSED,
        advice="its layout may have changed on the hub: name an older commit with --revision"
        if dataset.parts
        else "another --split, --subset or --file of it may hold pairs",
        recorded=options.recorded(),
    )

    def origin() -> dict[str, Any]:
        where = {"hub": snapshot.hub, "hub_id": snapshot.hub_id}
        return {**where, "revision": snapshot.revision, "commit": snapshot.commit, "files": fetched}

    return run(workspace, job, how, origin)


def _fetch(snapshot: Snapshot, file: HubFile, force: bool, fetched: list[dict[str, Any]]) -> Callable[[], Path]:
    """A function that fetches a file into the client's cache and notes what it got in `fetched`."""

    def fetch() -> Path:
        path, digest = hub.fetch_file(snapshot, file, force)
        fetched.append({"path": file.path, "bytes": path.stat().st_size, "sha256": digest})
        return path

    return fetch


def _check_space(workspace: Workspace, plans: list[FetchPlan], how: IngestOptions) -> None:
    files = [file for plan in plans for file in (*plan.heldout, *plan.train)]
    if how.filters.max_samples is not None:
        files = files[:1]  # how many files are needed shows only as they are read
    check_space(workspace, [(file.path, file.bytes or 0) for file in files])


def describe(done: Downloaded) -> list[str]:
    """The lines that tell a person what is there now."""
    manifest = done.manifest
    commit = str(manifest.source["commit"])[:12]
    if done.result is None:
        train, heldout = manifest.files[0], manifest.heldout
        held_out = f", {heldout.rows:,} held out as {heldout.dataset}" if heldout is not None else ""
        rows = f"{train.rows:,} rows in data/{train.file} ({format_bytes(train.bytes)}){held_out}"
        return [f"{manifest.name}: already there at commit {commit}: {rows}"]
    return [*describe_intake(done.result), f"  from {manifest.source['hub_id']} at commit {commit}"]


def download_all(workspace: Workspace, names: list[str], options: DownloadOptions) -> list[tuple[str, RlguideError]]:
    """Download datasets one after the other and report each; return the failures, which do not stop the others.

    Raises:
        UsageError: a name or an option cannot be meant; nothing was started.
    """
    there: list[DataManifest] = []
    failures: list[tuple[str, RlguideError]] = []
    for dataset in check_options(names, options):
        try:
            done = download(workspace, dataset, options)
            for line in describe(done):
                console.say(line)
            there.append(done.manifest)
        except RlguideError as error:
            if len(names) == 1:
                raise
            failures.append((dataset.name, error))
            console.say(f"error: {error.what}\n  fix: {error.fix}")
    for line in next_steps(there):
        console.say(line)
    return failures
