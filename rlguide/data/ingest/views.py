"""A dataset of pairs as other stages of LLaMA-Factory see it: one stored file serves them all.

DPO, ORPO, SimPO and the reward model read the pairs as they are. For SFT on the chosen responses and for PPO's prompts
an entry in dataset_info.json shows the same file with other columns. KTO needs a row for every response: that file is
made from the pairs, and made again when they have changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Literal

from rlguide import console
from rlguide.catalog.methods import methods
from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import ALL_HELDOUT, NO_SPLIT
from rlguide.data.curate.single_responses import CHOSEN_AND_REJECTED, DUPLICATE, single_responses
from rlguide.data.example import Example
from rlguide.data.names import heldout_name, parent_name, view_name, viewed_name
from rlguide.data.store.dataset_info import (
    DEFAULT_COLUMNS,
    Entry,
    change_registry,
    dataset_kind,
    entry_kind,
    is_view,
    read_registry,
)
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.publish import Publication, check_disk, publish, writing
from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import RegisteredDataset, check_registered, local_files
from rlguide.data.store.row_counts import RowCounts
from rlguide.data.store.staging import Staging
from rlguide.data.store.stale_views import is_current, origin_of
from rlguide.errors import DataError, UsageError
from rlguide.progress import Ticker
from rlguide.workspace import Workspace

EXPANSION = 8.0  # the prompt twice, and an uncompressed temporary copy
ViewUse = Literal["kto", "sft", "ppo"]
USES: tuple[ViewUse, ...] = ("sft", "kto", "ppo")


def view(workspace: Workspace, name: str, use: ViewUse) -> str:
    """Register pairs, and their held-out split, for another use; return the name of the view, `<name>_<use>`.

    Raises:
        UsageError: the dataset is not registered, or the name of the view is taken by something else.
        DataError: it is not a dataset of pairs, or one whose responses the engine cannot read that way; for KTO also
            one without a pair, or that the engine itself fetches.
        RlguideError: the disk is full or the folder cannot be written.
    """
    return kto_view(workspace, name) if use == "kto" else _entry_view(workspace, name, use)


def view_names(workspace: Workspace, names: list[str], use: ViewUse) -> list[str]:
    """What is trained on for these datasets: the view of one of pairs, else the dataset itself. Raises as `view`."""
    found, entries = [], read_registry(workspace)
    for name in names:
        manifest, base = read_manifest(workspace, name), viewed_name(name, use)
        if name not in entries and entry_kind(entries.get(base, {})) == "pairs":  # it went with the earlier pairs
            name = view(workspace, base, use)
        elif dataset_kind(workspace, name) == "pairs":
            name = view(workspace, name, use)
        elif manifest is not None and manifest.derived_from:  # made again if it is out of date
            name = kto_view(workspace, manifest.derived_from)
        found.append(name)
    return found


def views_for(workspace: Workspace, names: list[str], use: str) -> list[str]:
    """The names of datasets of pairs for one use of them, registered if need be.

    Raises UsageError for an unknown use, else as `view`.
    """
    as_they_are = [method.name for method in methods().values() if method.data == "pairs"]
    if use in as_they_are:
        return [dataset.name for dataset in check_registered(workspace, names)]
    if use not in USES:
        raise UsageError(f"--use {use} is not known", f"choose one of {', '.join((*USES, *as_they_are))}")
    return [view(workspace, name, use) for name in names]


def viewed(workspace: Workspace, name: str) -> str | None:
    """The dataset of pairs that `name` shows: itself, what KTO's rows were made of, or whose file the entry shares.

    Raises DataError if dataset_info.json is broken.
    """
    entries, parent = read_registry(workspace), parent_name(name)
    made = read_manifest(workspace, parent)
    source = made.derived_from if made is not None else ""
    if source and name != parent:
        source = heldout_name(source)
    pairs = {other: its.get("file_name") for other, its in entries.items() if entry_kind(its) == "pairs"}
    if name in pairs or source in pairs:
        return name if name in pairs else source
    file = entries.get(name, {}).get("file_name")
    same = [other for other, its in pairs.items() if file and its == file]
    named = [other for other in same if name.startswith(parent_name(other))]
    return max(named or same, key=len, default=None)


def _entry_view(workspace: Workspace, name: str, use: Literal["sft", "ppo"]) -> str:
    dataset = check_registered(workspace, [name])[0]
    entries = read_registry(workspace)
    wanted, shown = {}, view_name(name, use)
    held_out = [(dataset.heldout, heldout_name(shown))] if dataset.heldout else []
    for source, target in ((name, shown), *held_out):
        wanted[target] = _as_single_responses(source, entries[source], dataset.formatting)
        if target in entries and entries[target] != wanted[target] and not is_view(entries[target]):
            raise UsageError(
                f"the view of {source} for {use} would be {target}, and there is a dataset of that name",
                "rename one of them in dataset_info.json",
            )
    if any(entries.get(target) != entry for target, entry in wanted.items()):
        change_registry(workspace, wanted)
    return shown


def _as_single_responses(name: str, entry: Entry, formatting: str) -> Entry:
    """The entry of pairs as one of prompts with the chosen response; the file stays the same."""
    if formatting != "alpaca":
        raise DataError(
            f"dataset {name} has its responses as messages, which LLaMA-Factory reads only as pairs",
            "import the file with `rlguide register FILE --name ...`, then use that dataset",
        )
    columns = dict(entry.get("columns") or DEFAULT_COLUMNS["alpaca"])
    columns["response"] = columns.pop("chosen")
    columns.pop("rejected", None)
    return {**entry, "ranking": False, "columns": columns}


def kto_view(workspace: Workspace, name: str) -> str:
    """Make the labelled view of a dataset of pairs, if it is not there or is out of date; return its name.

    `NAME_kto` has each chosen response as a desirable row and each rejected one as an undesirable row, each once, and
    `NAME_kto_test` the same of the held-out set, if there is one. A response that is chosen in one pair and rejected in
    another is dropped. Rows of one prompt are not neighbours (see `kto_order`). Raises as `view`.
    """
    view = view_name(name, "kto")
    _sources(workspace, name)
    if is_current(workspace, view, origin_of(workspace, name)):
        return view
    with writing(workspace, view):
        origin = origin_of(workspace, name)  # after a wait it may be another
        if not is_current(workspace, view, origin):
            _check_ours(workspace, view, name)
            _make(workspace, view, origin)
    return view


def _sources(workspace: Workspace, name: str) -> list[RegisteredDataset]:
    """The dataset and what it holds out, checked to be pairs in local files."""
    (dataset,) = check_registered(workspace, [name])
    sources = [dataset, *check_registered(workspace, [dataset.heldout] if dataset.heldout else [])]
    for source in sources:
        local_files(source)
    return sources


def _check_ours(workspace: Workspace, view: str, name: str) -> None:
    """Refuse to replace a dataset, or a file, that is not an earlier state of this view."""
    manifest = read_manifest(workspace, view)
    if manifest is not None and manifest.derived_from == name:
        return
    entries = read_registry(workspace)
    for taken in (view, heldout_name(view)):
        if taken in entries or (workspace.data / f"{taken}.parquet").exists():
            raise UsageError(
                f"the labelled view of {name} would be {taken}, and there is a dataset or file of that name",
                f"rename one of them, or name {view} itself if it has labels",
            )


def _make(workspace: Workspace, view: str, origin: dict[str, Any]) -> None:
    check_disk(workspace, round(EXPANSION * sum(file["bytes"] for file in origin["files"])))
    name = origin["derived_from"]
    console.say(f"{name}: making labelled responses of its pairs for KTO ({view})")
    counts = RowCounts()
    with ExitStack() as stack:
        staged = []
        for source, split in zip(_sources(workspace, name), (NO_SPLIT, ALL_HELDOUT), strict=False):
            staging = stack.enter_context(Staging(workspace.data / view, Filters(), split, "labels"))
            _stage(workspace, source, staging, counts)
            staged.append(staging)
        for line in counts.filtered_lines():
            console.say(f"  dropped: {line}")
        if not len(staged[0]):
            reason = "only responses that are both chosen and rejected" if counts.read else "no pairs"
            raise DataError(f"dataset {name} has {reason}", "register the file again to see what is in it")
        about = Publication(view, origin, {}, counts, "labels", report=False)
        publish(workspace, about, *staged)


def _stage(workspace: Workspace, source: RegisteredDataset, staging: Staging, counts: RowCounts) -> None:
    """Add the responses of a dataset's pairs, each once. The pairs are read twice: two million responses need 100 MB to
    be compared by hash, and all the memory there is if they are kept.
    """
    found = single_responses(_read(workspace, source, "comparing the responses of"))
    counts.add_filtered(CHOSEN_AND_REJECTED, found.contradictory)
    counts.add_filtered(DUPLICATE, found.duplicates)
    for at, pair in enumerate(_read(workspace, source, "reading")):
        counts.read += 1
        for row, wanted in zip(pair.split(), found.wanted[2 * at : 2 * at + 2], strict=False):
            if wanted:
                staging.add(row)


def _read(workspace: Workspace, source: RegisteredDataset, doing: str) -> Iterator[Example]:
    with Ticker(f"{doing} {source.name}", "rows", source.rows) as ticker:
        for position, pair in enumerate(read_examples(workspace, source.name), start=1):
            ticker.update(position)
            yield pair
