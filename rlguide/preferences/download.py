"""`rlguide download`: a catalog dataset from the hub to registered files in the workspace."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset, Part, find_dataset
from rlguide.errors import DataError, HubError, RlguideError, UsageError
from rlguide.preferences import hub
from rlguide.preferences.detection import detect_pairs
from rlguide.preferences.filters import Filters
from rlguide.preferences.formats import Format
from rlguide.preferences.manifest import DataManifest, read_manifest
from rlguide.preferences.progress import Ticker, format_bytes
from rlguide.preferences.readers import Row, Source, expected_rows, open_source
from rlguide.preferences.registry import read_registry
from rlguide.preferences.report import Tally, told
from rlguide.preferences.staging import NO_SPLIT, Split, Staging
from rlguide.preferences.store import (
    Publication,
    check_disk,
    check_free,
    check_test_size,
    publish,
    take_in,
    writing,
)
from rlguide.workspace import Workspace

# What is written, and the rows that wait, over the source's bytes.
EXPANSION = 3.0
DETECT_ROWS = 50
MOST_REFUSED = 0.2  # a published set with more bad rows than this is not the set that the catalog describes
HELDOUT_REASON = "the same prompt is in the held-out split"


@dataclass(frozen=True)
class DownloadOptions:
    """What of a dataset is fetched and how it is split.

    lang: "en", "zh" or "both". max_samples: pairs kept, drawn at random with `seed` from the files fetched.
    test_size: share that is held out where the dataset has no split of its own (None: 5 %, at most 2,000 pairs).
    revision: branch, tag or commit.
    """

    lang: str = "both"
    test_size: float | None = None
    revision: str = "main"
    force: bool = False
    filters: Filters = field(default_factory=Filters)

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest; two equal ones of the same commit give the same files."""
        return {"test_size": self.test_size, **asdict(self.filters), "lang": self.lang}


@dataclass(frozen=True)
class Downloaded:
    """A dataset that is there now. `fetched` is False if it already was."""

    manifest: DataManifest
    fetched: bool
    tally: Tally


@dataclass(frozen=True)
class _Plan:
    """One portion of the download: which files become training rows and which are the held-out split."""

    train: list[hub.HubFile]
    heldout: list[hub.HubFile]


def check_options(names: list[str], options: DownloadOptions) -> list[CatalogDataset]:
    """The datasets meant. Raises UsageError for an unknown name or an option that cannot be meant."""
    datasets = [find_dataset(name) for name in dict.fromkeys(names)]
    if options.lang not in ("en", "zh", "both"):
        raise UsageError(f"--lang {options.lang} is none of en, zh, both", "choose one of them")
    if options.lang != "both":
        for dataset in datasets:
            if not dataset.has_languages and options.lang not in dataset.languages:
                raise UsageError(
                    f"{dataset.name} has no {options.lang} part (it is {', '.join(dataset.languages)})",
                    "leave out --lang",
                )
    options.filters.check(labelled=False)
    check_test_size(options.test_size)
    return datasets


def download(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> Downloaded:
    """Fetch, check, write and register one dataset; does nothing if the same commit and options are there.

    Raises:
        HubError: the hub cannot be reached or does not have it. DataError: what it gave is broken.
        UsageError: the name is taken by something that this did not make. RlguideError: disk.
    """
    check_free(workspace, dataset.name, options.force, {"hub_id": dataset.hub_id})
    earlier = None if options.force else _already_there(workspace, dataset, options)
    if earlier is not None and options.revision == earlier.source["commit"]:
        return Downloaded(earlier, False, Tally())
    if earlier is not None and hub.is_offline() and options.revision == earlier.source["revision"]:
        return Downloaded(earlier, False, Tally())
    console.say(f"{dataset.name}: asking for {dataset.hub_id} at {options.revision}")
    snapshot = hub.find_snapshot(dataset.hub_id, options.revision)
    if earlier is not None and snapshot.commit == earlier.source["commit"]:
        return Downloaded(earlier, False, Tally())
    with writing(workspace, dataset.name):
        return _make(workspace, dataset, options, snapshot)


def _already_there(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> DataManifest | None:
    """The manifest of an earlier, whole, untouched download with the same options."""
    manifest = read_manifest(workspace, dataset.name)
    if manifest is None or manifest.options != options.recorded():
        return None
    entries = read_registry(workspace)
    for file in manifest.files:
        if not file.unchanged(workspace.data) or entries.get(file.dataset, {}).get("file_name") != file.file:
            return None
    return manifest


def _make(
    workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions, snapshot: hub.Snapshot
) -> Downloaded:
    plans = [_plan(snapshot, part) for part in dataset.parts if _wanted(part, options.lang)]
    files = [file for plan in plans for file in (*plan.heldout, *plan.train)]
    _check_space(workspace, files, options)
    has_split = any(plan.heldout for plan in plans)
    if has_split and options.test_size is not None:
        console.warn(f"--test-size is not used: {dataset.name} has a held-out split of its own")
    tally = Tally()
    fetched: list[dict[str, Any]] = []
    most = options.filters.max_samples
    rows_only = replace(options.filters, balance_length=False, max_samples=None)
    with ExitStack() as stack:
        split = NO_SPLIT if has_split else Split(options.test_size)
        train = stack.enter_context(Staging(workspace.data, dataset.name, options.filters, split))
        heldout = stack.enter_context(Staging(workspace.data, dataset.name, rows_only, NO_SPLIT, part="test"))
        for plan in plans:
            for file in plan.heldout:
                _stage(snapshot, file, options, heldout, Tally(), set(), fetched)
        kept_out = heldout.hashes()
        for plan in plans:
            before = tally.read
            for file in plan.train:
                _stage(snapshot, file, options, train, tally, kept_out, fetched)
                if most is not None and tally.read - before >= most:
                    break  # enough to draw from; a further file of a million pairs is not fetched
        _check_amount(dataset, tally, len(train))
        source = {
            "hub_id": snapshot.hub_id,
            "revision": snapshot.revision,
            "commit": snapshot.commit,
            "files": fetched,
        }
        about = Publication(dataset.name, source, options.recorded(), tally)
        console.say(f"  writing {len(train):,} pairs to {workspace.relative(workspace.data)}")
        return Downloaded(publish(workspace, about, train, heldout if has_split else None), True, tally)


def _wanted(part: Part, lang: str) -> bool:
    return lang == "both" or part.language in (None, lang)


def _plan(snapshot: hub.Snapshot, part: Part) -> _Plan:
    train = hub.match_files(snapshot, part.train)
    heldout = hub.match_files(snapshot, part.heldout) if part.heldout else []
    details = {file.path: file for file in hub.file_details(snapshot, train + heldout)}
    return _Plan([details[path] for path in train], [details[path] for path in heldout])


def _check_space(workspace: Workspace, files: list[hub.HubFile], options: DownloadOptions) -> None:
    if options.filters.max_samples is not None:
        files = files[:1]  # how many files are needed shows only as they are read
    needed = EXPANSION * sum(file.bytes or 0 for file in files)
    check_disk(workspace, round(needed))


def _stage(
    snapshot: hub.Snapshot,
    file: hub.HubFile,
    options: DownloadOptions,
    staging: Staging,
    tally: Tally,
    kept_out: set[int],
    fetched: list[dict[str, Any]],
) -> None:
    """Fetch one file and stage its pairs; those whose prompt is in `kept_out` are refused."""
    path, digest = hub.fetch_file(snapshot, file, options.force)
    fetched.append({"path": file.path, "bytes": path.stat().st_size, "sha256": digest})
    try:
        source = open_source(path)
        form = _format(source)
        with Ticker(f"converting {Path(file.path).name}", "rows", expected_rows(source)) as ticker:
            started = tally.read
            tally.open(file.path, source.unit)
            for pair in take_in(_unbroken(source, form.columns), form, tally, options.filters):
                if kept_out and staging.hash(pair) in kept_out:
                    tally.leave_out(HELDOUT_REASON)
                else:
                    staging.add(pair)
                ticker.update(tally.read - started)
    except DataError as error:
        # The path in the client's cache says nothing to a person: name the file as the hub does.
        what = str(error.what).replace(str(path), f"{file.path} of {snapshot.hub_id}")
        raise HubError(
            what, f"run the command again with --force; if that does not help, the file on the hub is broken ({path})"
        ) from error


def _format(source: Source) -> Format:
    first: list[Any] = []
    for row in source.rows():
        first.append(row.value)
        if len(first) == DETECT_ROWS:
            break
    return detect_pairs(first, source.path)


def _unbroken(source: Source, columns: tuple[str, ...]) -> Any:
    """The rows of a published file: one that cannot be read means that the file is damaged, not that a row is bad."""
    for row in source.rows(columns):
        if row.broken:
            raise DataError(f"{source.path} is damaged: {row.broken} at {source.unit} {row.position}", "fetch it again")
        yield Row(row.position, row.value)


def _check_amount(dataset: CatalogDataset, tally: Tally, kept: int) -> None:
    if not kept or tally.bad > MOST_REFUSED * tally.read:
        reasons = "; ".join(tally.lines()) or "no rows"
        raise DataError(
            f"{dataset.name}: {tally.bad:,} of {tally.read:,} rows are no preference pairs ({reasons})",
            "its layout may have changed on the hub: name an older commit with --revision",
        )


def describe(done: Downloaded) -> list[str]:
    """The lines that tell a person what is there now."""
    manifest = done.manifest
    name, commit = manifest.name, str(manifest.source["commit"])[:12]
    train, heldout = manifest.files[0], manifest.heldout
    rows = f"{train.rows:,} pairs in data/{train.file} ({format_bytes(train.bytes)})"
    if heldout is not None:
        rows += f", {heldout.rows:,} held out in data/{heldout.file} (dataset {heldout.dataset})"
    if not done.fetched:
        return [f"{name}: already there at commit {commit}: {rows}"]
    lines = [f"{name}: {rows}, commit {commit}"]
    return lines + told(done.tally, name)


def download_all(workspace: Workspace, names: list[str], options: DownloadOptions) -> list[tuple[str, RlguideError]]:
    """Download datasets one after the other and report each; return the failures, which do not stop the others.

    Raises:
        UsageError: a name or an option cannot be meant; nothing was started.
    """
    failures: list[tuple[str, RlguideError]] = []
    for dataset in check_options(names, options):
        try:
            for line in describe(download(workspace, dataset, options)):
                console.say(line)
        except RlguideError as error:
            if len(names) == 1:
                raise
            failures.append((dataset.name, error))
            console.say(f"error: {error.what}\n  fix: {error.todo}")
    return failures
