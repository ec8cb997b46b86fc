"""Staged rows to files in `data/`, registered: what download, register and the views end with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.data.example import ExampleKind
from rlguide.data.names import folded, heldout_name, parent_name, view_name
from rlguide.data.readers.source import PACKED_SUFFIXES
from rlguide.data.store import journal
from rlguide.data.store.dataset_info import our_entry, read_registry
from rlguide.data.store.manifest import DataFile, DataManifest, read_manifest
from rlguide.data.store.parquet_writer import Written
from rlguide.data.store.row_counts import NO_PAIR, RowCounts
from rlguide.data.store.staging import Staging, temporary
from rlguide.data.store.stale_views import Outlived, outlived
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.locks import in_turn
from rlguide.workspace import Workspace, atomic_write, free_bytes

# What is written, and the rows that wait, over the source's bytes; of compressed text.
EXPANSION, EXPANSION_PACKED = 3.0, 12.0
SPARE_BYTES = 100_000_000  # of a disk, for what else is written there; of a small dataset as many as its own


@contextmanager
def writing(workspace: Workspace, name: str) -> Iterator[None]:
    """Hold the locks of the dataset and its held-out set while they are made, after finishing or clearing away what a
    killed run left. What a run that fails has written is cleared away at once. Raises RlguideError as `in_turn`.
    """
    with ExitStack() as stack:
        for one in (name, heldout_name(name)):  # always in this order, so that no two wait for each other
            busy = f"{one}: another rlguide is making it; waiting for that to end"
            stack.enter_context(in_turn(journal.lock_path(workspace, one), busy))
        journal.recover(workspace, name)
        try:
            yield
        except BaseException:
            journal.abandon(workspace, name)
            raise


def check_free(workspace: Workspace, name: str, force: bool, origin: dict[str, str] | None = None) -> None:
    """Refuse a name whose entry or file is already there, unless it is an earlier state of this: if `origin`, such as
    the hub id, is in the source of its manifest.

    Raises:
        UsageError: the name, or that of its held-out split, is taken and `force` is not given; or, whatever is given,
            the two belong to different datasets, or differ in case only from another one.
        DataError: dataset_info.json is broken. RlguideError: a folder has the name of its file.
    """
    entries, other, heldout = read_registry(workspace), "choose another name with --name", heldout_name(name)
    if what := why_not(workspace, name, entries):
        raise UsageError(what, other)
    manifest = read_manifest(workspace, name)
    ours: set[str] = set()
    if manifest is not None and origin and origin.items() <= manifest.source.items():
        ours = {file.dataset for file in manifest.files}
    for taken in (name, heldout):
        file = workspace.data / f"{taken}.parquet"
        journal.check_no_folder(file)
        if force or taken in ours:
            continue
        if taken in entries:
            what = f"{workspace.relative(workspace.dataset_info)} already has a dataset {taken}"
            what += " that is not from this download" if origin else ""
            raise UsageError(what, f"{other}, or replace it with --force")
        if file.exists():
            fix = f"move it away, {other}, or replace it with --force"
            raise UsageError(f"{workspace.relative(file)} is already there", fix)


def why_not(workspace: Workspace, name: str, entries: Collection[str], mine: Collection[str] = ()) -> str:
    """Why a dataset cannot be called `name` beside those that are registered (`entries`), but for its own (`mine`).

    "" if it can be called so, or if there is one of that very name.
    """
    heldout = heldout_name(name)
    # NAME_test is for the rows that NAME holds out; it cannot be a dataset of its own beside NAME.
    base = read_manifest(workspace, parent_name(name)) if parent_name(name) != name else None
    if base is not None and any(file.dataset == name for file in base.files):
        return f"{name} is what {base.name} holds out"
    if heldout not in mine and read_manifest(workspace, heldout) is not None:
        return f"there is a dataset {heldout}, and that would be taken for the rows that {name} holds out"
    taken = {folded(other): other for other in entries if other not in mine}
    for new in (name, heldout):
        other = taken.get(folded(new), new)
        if other != new and new not in entries:
            return f"there is a dataset {other}, and {new} differs from it in case only, which some disks ignore"
    return ""


def check_space(workspace: Workspace, files: Iterable[tuple[str, int]]) -> None:
    """Raises RlguideError if there is not room for what these files (name, bytes) become."""
    needed = 0.0
    for name, size in files:
        needed += size * (EXPANSION_PACKED if name.lower().endswith(PACKED_SUFFIXES) else EXPANSION)
    check_disk(workspace, round(needed))


def check_disk(workspace: Workspace, needed: int) -> None:
    """Raises RlguideError if the workspace's disk has less than `needed` bytes free, and some to spare."""
    from rlguide.progress import format_bytes

    free, spare = free_bytes(workspace.data), min(needed, SPARE_BYTES)
    if free < needed + spare:
        raise RlguideError(
            f"up to {format_bytes(needed + spare)} are needed in {workspace.data}, and {format_bytes(free)} are free",
            "free some disk space, or name a workspace on another disk with --workspace",
        )


@dataclass(frozen=True)
class Publication:
    """Where a dataset came from and how it was imported, for its manifest; what it holds."""

    name: str
    source: dict[str, Any]
    options: dict[str, Any]
    counts: RowCounts
    kind: ExampleKind = "pairs"
    report: bool = True  # write down the invalid rows, each with its place


def nothing_left(about: Publication) -> DataError:
    """The error for valid rows that the filters drop or that make no pair, all of them."""
    invalid = about.counts.invalid.total()
    parts = [*about.counts.filtered_lines(), *([f"{invalid:,} invalid row{'s' * (invalid > 1)}"] if invalid else [])]
    reasons = "; ".join(parts)
    if set(about.counts.filtered) == {NO_PAIR}:
        return DataError(f"{about.name}: no row makes a pair ({reasons})", "name data in which one response is better")
    return DataError(f"{about.name}: the filters drop every row ({reasons})", "relax the filters")


def publish(workspace: Workspace, about: Publication, train: Staging, heldout: Staging | None = None) -> DataManifest:
    """Write and split what was staged, put the files in place and register them; return the manifest.

    `heldout` holds the dataset's own held-out rows; `train` holds out nothing then. Raises DataError for a broken
    dataset_info.json or if the filters leave no row to train on, RlguideError if the files cannot be written.
    """
    name = about.name
    read_registry(workspace)  # a broken one is found before anything is written
    written = train.finish(about.counts)
    if not written[0].rows:
        raise nothing_left(about)
    if heldout is not None and len(heldout):
        written += heldout.finish(about.counts)
    files = dict(zip((name, heldout_name(name)), written, strict=False))
    manifest = _manifest(about, files)
    # KTO's rows of the earlier dataset that another rlguide makes must not appear after it is gone.
    view = view_name(name, "kto")
    with writing(workspace, view) if journal.is_locked(workspace, view) else nullcontext():
        change, outdated = _change(workspace, manifest, files, about.kind)
        if about.report:
            report = temporary(workspace.data, name, "report")
            _write_report(report, about, "imported")
            change.moves[report.name] = f"{name}.report.json"
        journal.commit(workspace, change)
    if outdated.entries:
        again = "" if about.kind != "pairs" else "; rlguide view and rlguide train make them again"
        console.say(f"removed what showed the earlier {name}: {', '.join(outdated.entries)}{again}")
    return manifest


def _manifest(about: Publication, written: dict[str, Written]) -> DataManifest:
    """What is recorded of files that are about to be put in place as `<dataset>.parquet`."""
    from datetime import UTC, datetime

    from rlguide import __version__

    files = [DataFile(dataset, f"{dataset}.parquet", *astuple(file)[1:]) for dataset, file in written.items()]
    counts, created = about.counts, datetime.now(UTC).isoformat(timespec="seconds")
    amounts = (counts.read, dict(counts.invalid), dict(counts.filtered))
    return DataManifest(about.name, created, __version__, about.source, about.options, *amounts, files, about.kind)


def _change(
    workspace: Workspace, manifest: DataManifest, written: dict[str, Written], kind: ExampleKind
) -> tuple[journal.Change, Outlived]:
    """What is to be moved, registered, and deleted of an earlier version of the dataset; what showed that elsewhere."""
    entries, earlier = read_registry(workspace), read_manifest(workspace, manifest.name)
    old = earlier.files if earlier is not None else []
    files = {file.file for file in manifest.files}
    gone = [file.file for file in old if file.file not in files]
    test_name = heldout_name(manifest.name)
    if test_name in entries and test_name not in written and all(file.dataset != test_name for file in old):
        console.warn(f"removed {test_name} from dataset_info.json, or it would count as held out of {manifest.name}")
    unseen = {*gone, *(files if kind != "pairs" else ())}  # single responses have no view for sft and ppo
    dropped = {test_name, *(file.dataset for file in old)} - set(written)
    outdated = outlived(workspace, manifest.name, entries, unseen, files if kind == "pairs" else set())
    change = journal.Change(
        manifest.name,
        {written[file.dataset].path.name: file.file for file in manifest.files},
        asdict(manifest),
        {file.dataset: our_entry(file.file, kind) for file in manifest.files},
        [*gone, f"{manifest.name}.refused.json", *outdated.files],
        [*sorted(dropped), *outdated.entries],
    )
    return change, outdated


def refuse(workspace: Workspace, about: Publication) -> str:
    """Write the report of rows that are not imported, beside that of a dataset that is there; return its path."""
    there = read_manifest(workspace, about.name) is not None
    path = workspace.data / f"{about.name}.{'refused' if there else 'report'}.json"
    _write_report(path, about, "refused")
    return workspace.relative(path)


def _write_report(path: Path, about: Publication, result: str) -> None:
    from rlguide import __version__

    with atomic_write(path) as file:
        about.counts.write(file, {"dataset": about.name, "rlguide": __version__, "result": result})
