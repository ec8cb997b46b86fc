"""`rlguide download`: a dataset from a hub to registered files in the workspace."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset
from rlguide.errors import DataError, HubError, RlguideError, UsageError
from rlguide.preferences import hub
from rlguide.preferences.formats import Format
from rlguide.preferences.label_formats import detect_pairs
from rlguide.preferences.manifest import DataManifest, read_manifest
from rlguide.preferences.plan import find_plans
from rlguide.preferences.progress import Ticker, format_bytes
from rlguide.preferences.readers import Row, Source, expected_rows, open_source
from rlguide.preferences.registry import read_registry
from rlguide.preferences.request import find_requested
from rlguide.preferences.splits import ANYTHING, Wanted
from rlguide.preferences.staging import Staging
from rlguide.preferences.store import (
    Publication,
    Tally,
    check_disk,
    check_free,
    check_test_size,
    checked_pairs,
    publish,
    writing,
)
from rlguide.workspace import Workspace

# JSON lines beside the source's bytes: Parquet is compressed, and the temporary file is a second copy.
EXPANSION = {".parquet": 6.0}
EXPANSION_TEXT = 2.2
DETECT_ROWS = 50
MOST_REFUSED = 0.2  # a published set with more bad rows than this is not the set that the catalog describes
HELDOUT_REASON = "the same prompt is in the held-out split"


@dataclass(frozen=True)
class DownloadOptions:
    """What of a dataset is fetched and how it is split.

    lang: "en", "zh" or "both". max_samples: pairs kept, drawn at random with `seed` from the files fetched.
    test_size: share that is held out where the dataset has no split of its own (None: 5 %, at most 2,000 pairs).
    revision: branch, tag or commit (None: the usual branch of the hub).
    hub: "hf" or "modelscope". name: the name in the workspace. wanted: split, subset or files, if they are named.
    """

    lang: str = "both"
    max_samples: int | None = None
    test_size: float | None = None
    seed: int = 42
    revision: str | None = None
    force: bool = False
    hub: str = "hf"
    name: str | None = None
    wanted: Wanted = ANYTHING

    @property
    def branch(self) -> str:
        """The revision to ask for."""
        return self.revision or hub.HUBS[self.hub]

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest; two equal ones of the same commit give the same files."""
        always = {key: getattr(self, key) for key in ("lang", "max_samples", "test_size", "seed")}
        chosen = {key: list(value) if key == "files" else value for key, value in asdict(self.wanted).items() if value}
        return always | chosen | ({"hub": self.hub} if self.hub != "hf" else {})


@dataclass(frozen=True)
class Downloaded:
    """A dataset that is there now. `fetched` is False if it already was."""

    manifest: DataManifest
    fetched: bool
    tally: Tally


def check_options(names: list[str], options: DownloadOptions) -> list[CatalogDataset]:
    """The datasets meant. Raises UsageError for an unknown name or an option that cannot be meant."""
    hub.check_hub(options.hub)
    datasets = find_requested(names, options.hub, options.wanted, options.name)
    if options.lang not in ("en", "zh", "both"):
        raise UsageError(f"--lang {options.lang} is none of en, zh, both", "choose one of them")
    if options.lang != "both":
        for dataset in datasets:
            if not dataset.languages:
                raise UsageError(
                    f"--lang chooses a part of a catalog dataset, and {dataset.hub_id} is none", "leave it out"
                )
            if not dataset.has_languages and options.lang not in dataset.languages:
                raise UsageError(
                    f"{dataset.name} has no {options.lang} part (it is {', '.join(dataset.languages)})",
                    "leave out --lang",
                )
    if options.max_samples is not None and options.max_samples < 2:
        raise UsageError("--max-samples must be 2 or more: one to train on, one to hold out", "give a larger number")
    check_test_size(options.test_size)
    return datasets


def download(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> Downloaded:
    """Fetch, check, write and register one dataset; does nothing if the same commit and options are there.

    Raises:
        HubError: the hub cannot be reached or does not have it. DataError: what it gave is broken.
        UsageError: the name is taken by something that this did not make. RlguideError: disk.
    """
    check_free(workspace, dataset.name, options.force, dataset.hub_id)
    earlier = None if options.force else _already_there(workspace, dataset, options)
    if earlier is not None and options.branch == earlier.source["commit"]:
        return Downloaded(earlier, False, Tally())
    if earlier is not None and hub.is_offline() and options.branch == earlier.source["revision"]:
        return Downloaded(earlier, False, Tally())
    console.say(f"{dataset.name}: asking for {dataset.hub_id} at {options.branch}")
    snapshot = hub.find_snapshot(dataset.hub_id, options.branch, options.hub)
    if earlier is not None and snapshot.commit == earlier.source["commit"]:
        return Downloaded(earlier, False, Tally())
    with writing(workspace, dataset.name):
        return _make(workspace, dataset, options, snapshot)


def _already_there(workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions) -> DataManifest | None:
    """The manifest of an earlier, whole, untouched download with the same options."""
    manifest = read_manifest(workspace, dataset.name)
    if manifest is None or not manifest.complete or manifest.options != options.recorded():
        return None
    entries = read_registry(workspace)
    for file in manifest.files:
        if not file.unchanged(workspace.data) or entries.get(file.dataset, {}).get("file_name") != file.file:
            return None
    return manifest


def _make(
    workspace: Workspace, dataset: CatalogDataset, options: DownloadOptions, snapshot: hub.Snapshot
) -> Downloaded:
    plans = find_plans(snapshot, dataset, options.lang, options.wanted)
    files = [file for plan in plans for file in (*plan.heldout, *plan.train)]
    _check_space(workspace, files, options)
    has_split = any(plan.heldout for plan in plans)
    if has_split and options.test_size is not None:
        console.warn(f"--test-size is not used: {dataset.name} has a held-out split of its own")
    tally = Tally()
    fetched: list[dict[str, Any]] = []
    with ExitStack() as stack:
        train = stack.enter_context(Staging(workspace.data, dataset.name, options.seed, options.max_samples))
        heldout = stack.enter_context(Staging(workspace.data, f"{dataset.name}_test", options.seed))
        for plan in plans:
            for file in plan.heldout:
                _stage(snapshot, file, options.force, heldout, Tally(), set(), fetched)
        kept_out = set(heldout.hashes())
        for plan in plans:
            before = tally.read
            for file in plan.train:
                _stage(snapshot, file, options.force, train, tally, kept_out, fetched)
                if options.max_samples is not None and tally.read - before >= options.max_samples:
                    break  # enough to draw from; a further file of a million pairs is not fetched
        _check_amount(dataset, tally, len(train))
        source = {
            "hub": snapshot.hub,
            "hub_id": snapshot.hub_id,
            "revision": snapshot.revision,
            "commit": snapshot.commit,
            "files": fetched,
        }
        about = Publication(dataset.name, source, options.recorded(), tally, options.test_size)
        console.say(f"  writing {len(train):,} pairs to {workspace.relative(workspace.data)}")
        return Downloaded(publish(workspace, about, train, heldout if has_split else None), True, tally)


def _check_space(workspace: Workspace, files: list[hub.HubFile], options: DownloadOptions) -> None:
    if options.max_samples is not None:
        files = files[:1]  # how many files are needed shows only as they are read
    needed = sum((file.bytes or 0) * (EXPANSION.get(Path(file.path).suffix, EXPANSION_TEXT)) for file in files)
    check_disk(workspace, round(needed))


def _stage(
    snapshot: hub.Snapshot,
    file: hub.HubFile,
    force: bool,
    staging: Staging,
    tally: Tally,
    kept_out: set[int],
    fetched: list[dict[str, Any]],
) -> None:
    """Fetch one file and stage its pairs; those whose prompt is in `kept_out` are refused."""
    path, digest = hub.fetch_file(snapshot, file, force)
    fetched.append({"path": file.path, "bytes": path.stat().st_size, "sha256": digest})
    try:
        source = open_source(path)
        form = _format(source)
        with Ticker(f"converting {Path(file.path).name}", "rows", expected_rows(source)) as ticker:
            started = tally.read
            for pair, line, position in checked_pairs(_unbroken(source), form, tally):
                if kept_out and staging.hash(pair) in kept_out:
                    tally.refuse(HELDOUT_REASON, position)
                else:
                    staging.add(pair, line)
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


def _unbroken(source: Source) -> Any:
    """The rows of a published file: one that cannot be read means that the file is damaged, not that a row is bad."""
    for row in source.rows():
        if row.broken:
            raise DataError(f"{source.path} is damaged: {row.broken} at {source.unit} {row.position}", "fetch it again")
        yield Row(row.position, row.value)


def _check_amount(dataset: CatalogDataset, tally: Tally, kept: int) -> None:
    if not kept or tally.bad > MOST_REFUSED * tally.read:
        reasons = "; ".join(tally.lines("row")) or "no rows"
        raise DataError(
            f"{dataset.name}: {tally.bad:,} of {tally.read:,} rows are no preference pairs ({reasons})",
            "its layout may have changed on the hub: name an older commit with --revision"
            if dataset.parts
            else "another --split, --subset or --file of it may hold pairs",
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
    if done.tally.bad:
        lines += ["  left out:", *(f"    {line}" for line in done.tally.lines("row"))]
    return lines


def download_all(
    workspace: Workspace, names: list[str], options: DownloadOptions
) -> tuple[list[str], list[tuple[str, RlguideError]]]:
    """Download datasets one after the other and report each; a failure does not stop the others.

    Returns:
        The names in the workspace of those that are there now, and the failures.

    Raises:
        UsageError: a name or an option cannot be meant; nothing was started.
    """
    there: list[str] = []
    failures: list[tuple[str, RlguideError]] = []
    for dataset in check_options(names, options):
        try:
            for line in describe(download(workspace, dataset, options)):
                console.say(line)
            there.append(dataset.name)
        except RlguideError as error:
            if len(names) == 1:
                raise
            failures.append((dataset.name, error))
            console.say(f"error: {error.what}\n  fix: {error.todo}")
    return there, failures
