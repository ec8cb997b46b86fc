"""Rows -> checked pairs -> files in `data/`, registered. Used by download and register alike.

In this order, so that a killed run leaves nothing half-made that looks whole: manifest marked incomplete, data
files, registry, manifest marked complete.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from rlguide.errors import RlguideError, UsageError
from rlguide.preferences.formats import Format
from rlguide.preferences.label_formats import LabelFormat
from rlguide.preferences.labelled import Labelled, check_labelled_row, labelled_line
from rlguide.preferences.manifest import (
    DataManifest,
    data_file,
    new_manifest,
    read_manifest,
    write_manifest,
)
from rlguide.preferences.pair import BadRow, Pair, check_pair, to_line
from rlguide.preferences.readers import Row
from rlguide.preferences.registry import change_registry, labelled_entry, our_entry, read_registry
from rlguide.preferences.staging import Staging, Written, remove_leftovers
from rlguide.workspace import Workspace, free_bytes, locked

Example = TypeVar("Example")
EXAMPLES = 3  # positions kept for each reason


@dataclass
class Tally:
    """How many rows were read, and why some were refused: reason -> count, and the first positions."""

    read: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    positions: dict[str, list[int]] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        return self.refused.total()

    def refuse(self, reason: str, position: int) -> None:
        self.refused[reason] += 1
        first = self.positions.setdefault(reason, [])
        if len(first) < EXAMPLES:
            first.append(position)

    def lines(self, unit: str) -> list[str]:
        """One line a reason, the commonest first: `12 x chosen is empty (lines 3, 8, 9, ...)`."""
        result = []
        for reason, count in self.refused.most_common():
            first = self.positions[reason]
            where = ", ".join(str(position) for position in first) + (", ..." if count > len(first) else "")
            result.append(f"{count:,} x {reason} ({unit}{'s' if count > 1 else ''} {where})")
        return result


def checked_pairs(rows: Iterable[Row], form: Format, tally: Tally) -> Iterator[tuple[Pair, bytes, int]]:
    """Yield (pair, its line, position) of each pair of every good row; the other rows are counted in `tally`."""

    def convert(row: dict[str, Any]) -> list[tuple[Pair, bytes]]:
        pairs = form.to_pairs(row)
        for pair in pairs:
            check_pair(pair)
        return [(pair, to_line(pair)) for pair in pairs]

    return _checked(rows, convert, tally)


def checked_labels(rows: Iterable[Row], form: LabelFormat, tally: Tally) -> Iterator[tuple[Labelled, bytes, int]]:
    """The same of labelled answers."""

    def convert(row: dict[str, Any]) -> list[tuple[Labelled, bytes]]:
        labelled = form.to_labelled(row)
        check_labelled_row(labelled)
        return [(labelled, labelled_line(labelled))]

    return _checked(rows, convert, tally)


def _checked(
    rows: Iterable[Row], convert: Callable[[dict[str, Any]], list[tuple[Example, bytes]]], tally: Tally
) -> Iterator[tuple[Example, bytes, int]]:
    for row in rows:
        tally.read += 1
        try:
            if row.broken:
                raise BadRow(row.broken)
            if not isinstance(row.value, dict):
                raise BadRow("not an object")
            examples = convert(row.value)
        except BadRow as reason:
            tally.refuse(str(reason), row.position)
        else:
            for example, line in examples:
                yield example, line, row.position


@contextmanager
def writing(workspace: Workspace, name: str, timeout: float = 5.0) -> Iterator[None]:
    """Hold the dataset's lock while it is made, and clear away what a killed run left. Waits `timeout` seconds."""
    with locked(workspace.data / f"{name}.jsonl", timeout=timeout):
        remove_leftovers(workspace.data, name)
        yield


def check_free(workspace: Workspace, name: str, force: bool, hub_id: str | None = None) -> None:
    """Refuse a name whose entry or file is already there, unless it is an earlier download of `hub_id`.

    Raises:
        UsageError: the name, or that of its held-out set, is taken and `force` is not given.
        DataError: dataset_info.json is broken.
    """
    entries = read_registry(workspace)
    manifest = read_manifest(workspace, name)
    ours: set[str] = set()
    if manifest is not None and hub_id is not None and manifest.source.get("hub_id") == hub_id:
        # An incomplete manifest is of a run that was killed: it may have got as far as any of the two.
        ours = {name, f"{name}_test"} if manifest.heldout or not manifest.complete else {name}
    for taken in (name, f"{name}_test"):
        if force or taken in ours:
            continue
        other = "use another --workspace" if hub_id is not None else "choose another name with --name"
        if taken in entries:
            raise UsageError(
                f"{workspace.relative(workspace.dataset_info)} already has a dataset {taken}"
                + (" that is not from this download" if hub_id is not None else ""),
                f"{other}, or replace it with --force",
            )
        if (workspace.data / f"{taken}.jsonl").exists():
            raise UsageError(
                f"{workspace.relative(workspace.data / f'{taken}.jsonl')} is already there",
                f"move it away, {other}, or replace it with --force",
            )


def check_test_size(share: float | None) -> None:
    """Raises UsageError unless the share is None or in [0, 1)."""
    if share is not None and not 0 <= share < 1:
        raise UsageError(f"--test-size {share:g} is not a share from 0 up to 1", "give for example 0.05, or 0 for none")


def check_disk(workspace: Workspace, needed: int) -> None:
    """Raises RlguideError if the workspace's disk has less than `needed` bytes free (and 100 MB to spare)."""
    from rlguide.preferences.progress import format_bytes

    free = free_bytes(workspace.data)
    if free < needed + 100_000_000:
        raise RlguideError(
            f"about {format_bytes(needed)} are needed in {workspace.data}, and {format_bytes(free)} are free",
            "free some disk space, or name a workspace on another disk with --workspace",
        )


@dataclass(frozen=True)
class Publication:
    """Where a dataset came from, for its manifest, which rows are held out, and whether they are labelled answers."""

    name: str
    source: dict[str, Any]
    options: dict[str, Any]
    tally: Tally
    test_size: float | None = None
    labelled: bool = False


def publish(workspace: Workspace, about: Publication, train: Staging, heldout: Staging | None = None) -> DataManifest:
    """Write, split, and register what was staged; return its manifest.

    `heldout` holds the dataset's own held-out rows; without it a share of `train` is held out.

    Raises:
        RlguideError: the disk is full or a folder cannot be written.
        DataError: dataset_info.json is broken.
    """
    name, test_name = about.name, f"{about.name}_test"
    read_registry(workspace)  # a broken one is found before anything is replaced
    earlier = read_manifest(workspace, name)
    manifest = new_manifest(name, about.source, about.options, about.tally.read, dict(about.tally.refused))
    chosen = set() if heldout is not None else train.choose_heldout(about.test_size)
    write_manifest(workspace, manifest)
    written: dict[str, Written] = {}
    written[name] = train.write(workspace.data / f"{name}.jsonl", lambda value: value not in chosen)
    if heldout is not None:
        written[test_name] = heldout.write(workspace.data / f"{test_name}.jsonl", _everything)
    elif chosen:
        written[test_name] = train.write(workspace.data / f"{test_name}.jsonl", chosen.__contains__)
    stale: tuple[str, ...] = ()
    if test_name not in written and earlier is not None and earlier.heldout is not None:
        stale = (test_name,)
        (workspace.data / f"{test_name}.jsonl").unlink(missing_ok=True)
    entry = labelled_entry if about.labelled else our_entry
    change_registry(workspace, {dataset: entry(f"{dataset}.jsonl") for dataset in written}, stale)
    files = [data_file(dataset, file, about.labelled) for dataset, file in written.items()]
    manifest = replace(manifest, complete=True, files=files)
    write_manifest(workspace, manifest)
    return manifest


def _everything(_: int) -> bool:
    return True
