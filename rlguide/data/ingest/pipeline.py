"""Files, from wherever they come, to a published dataset: what `register` and `download` have in common."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from rlguide import console
from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import ALL_HELDOUT, NO_SPLIT, Split
from rlguide.data.example import KIND_NAMES, ExampleKind
from rlguide.data.formats.base import Format
from rlguide.data.formats.csv_cells import open_rows
from rlguide.data.formats.detect import check_fits, choose_format, explain
from rlguide.data.formats.scored_lists import Pairing, with_pairing
from rlguide.data.ingest.convert import import_rows
from rlguide.data.readers.files import expected_rows
from rlguide.data.readers.source import Row, Source
from rlguide.data.store.manifest import DataFile, DataManifest
from rlguide.data.store.publish import Publication, check_test_size, nothing_left, publish, refuse
from rlguide.data.store.row_counts import RowCounts
from rlguide.data.store.staging import Staging
from rlguide.errors import DataError
from rlguide.progress import Ticker
from rlguide.workspace import Workspace

DETECT_ROWS = 50
MOST_REFUSED = 0.01  # more bad rows than this are a mistake in the file, not a few slips
HELDOUT_REASON = "the same question is in the held-out set"


@dataclass(frozen=True)
class IngestOptions:
    """How rows are taken in.

    form: a name of `FORMATS`, or "auto". pairing: how a list of scored answers becomes pairs.
    filters: which good rows are wanted. test_size: share to hold out (None: 5 %, at most 2,000 rows) where there are
    no held-out files. keep_good: drop bad rows however many they are.
    """

    form: str = "auto"
    pairing: str = "best-worst"
    filters: Filters = field(default_factory=Filters)
    test_size: float | None = None
    keep_good: bool = False

    def check(self) -> None:
        """Raises UsageError for an option that cannot be meant."""
        Pairing(self.pairing)
        check_test_size(self.test_size)
        self.filters.check("pairs")

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest."""
        return {
            "form": self.form,
            "pairing": self.pairing,
            **asdict(self.filters),
            "test_size": self.test_size,
            "keep_good": self.keep_good,
        }


@dataclass(frozen=True)
class Piece:
    """One file: the name a person knows it by, and a function that fetches it, which may take long."""

    label: str
    fetch: Callable[[], Path]


@dataclass(frozen=True)
class ImportJob:
    """What is to become one dataset.

    train: groups of files. heldout: the dataset's own held-out files. expected: how many rows there are, if that is
    known. enough: with `filters.max_samples` the rest of a group is not fetched once that many rows are there.
    published: the files are somebody's finished work, so a row that cannot be read means that a file is damaged.
    most_refused: share of bad rows from which on the whole is refused. advice: what to do then. recorded: the options
    for the manifest; two equal ones make the same files of the same rows.
    """

    name: str
    train: Sequence[Sequence[Piece]]
    heldout: Sequence[Piece]
    expected: int | None
    enough: bool
    published: bool
    most_refused: float
    advice: str
    recorded: dict[str, Any]


class Opened(NamedTuple):
    """A file that is here, its format, and how many rows it has, where that is quick to tell."""

    source: Source
    form: Format
    expected: int | None


@dataclass(frozen=True)
class ImportResult:
    """A dataset that is there now. nothing_held_out: why not, if something was to be held out."""

    manifest: DataManifest
    counts: RowCounts
    kind: ExampleKind
    nothing_held_out: str = ""


def run(workspace: Workspace, job: ImportJob, how: IngestOptions, origin: Callable[[], dict[str, Any]]) -> ImportResult:
    """Check every row of the files, write the good ones to `data/` and register them. The caller holds the lock.

    Args:
        origin: called at the end, for the manifest: where the rows came from.

    Raises:
        DataError: a file cannot be read, has no known format, or there are too many bad rows; UsageError: a filter
        does not go with the data. Nothing is taken in then. RlguideError: the disk is full.
    """
    first = _open((*job.heldout, *job.train[0])[0], how)
    kind = first.form.kind
    how.filters.check(kind)
    if job.heldout and how.test_size is not None:
        console.warn(f"--test-size is not used: {job.name} has a held-out split of its own")
    rows_alone = replace(how.filters, balance_length=False, max_samples=None)
    alone = sum(map(len, job.train)) == 1
    expected = job.expected or (first.expected if alone else None)
    if how.filters.look_at_rows:
        expected = None  # nobody knows how many will be left
    split = NO_SPLIT if job.heldout else Split(how.test_size, expected)
    folder, counts = workspace.data, RowCounts()
    with ExitStack() as stack, _without_collector():
        heldout, kept_out = None, set[int]()
        openings = _Openings(first, how)
        if job.heldout:
            heldout = stack.enter_context(Staging(folder / job.name, rows_alone, ALL_HELDOUT, kind))
            for piece in job.heldout:
                _stage(piece, openings, job, how, heldout, counts, set())
            if not len(heldout):
                _check_amount(workspace, job, Publication(job.name, {}, {}, counts, kind), 0, how.keep_good)
            kept_out = heldout.hashes()
        train = stack.enter_context(Staging(folder / job.name, how.filters, split, kind, heldout))
        for group in job.train:
            before = len(train)
            for piece in group:
                _stage(piece, openings, job, how, train, counts, kept_out)
                if job.enough and how.filters.satisfied(len(train) - before):
                    break
        about = Publication(job.name, origin(), job.recorded, counts, kind)
        _check_amount(workspace, job, about, len(train), how.keep_good)
        return ImportResult(publish(workspace, about, train, heldout), counts, kind, train.nothing_held_out)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Rows hold no cycles, and looking for some among millions of new objects takes a tenth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Openings:
    """Opens pieces; the one that was looked at first is not fetched twice."""

    def __init__(self, first: Opened, how: IngestOptions) -> None:
        self._first: Opened | None = first
        self._kind = first.form.kind
        self._how = how

    def open(self, piece: Piece) -> Opened:
        """The file and its format. Raises DataError if it holds rows of another kind than the first file."""
        if self._first is not None:
            found, self._first = self._first, None
            return found
        found = _open(piece, self._how)
        if found.form.kind != self._kind:
            raise DataError(
                f"{piece.label} holds {KIND_NAMES[found.form.kind]}, and the files before it {KIND_NAMES[self._kind]}",
                "take them in as two datasets",
            )
        return found


def _open(piece: Piece, how: IngestOptions) -> Opened:
    path = piece.fetch()
    with _named(piece, path):
        source = open_rows(path)
        rows = [row.value for row in islice(source.rows(), DETECT_ROWS)]
        form = with_pairing(choose_format(rows, path, how.form), Pairing(how.pairing))
        check_fits(form, rows, path)
    console.say(f"{piece.label}: {source.kind}; {explain(form, rows)}")
    return Opened(source, form, expected_rows(source))


@contextmanager
def _named(piece: Piece, path: Path) -> Iterator[None]:
    """Errors name the file as a person knows it, not as it lies in some cache."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error.what).replace(str(path), piece.label), error.fix) from error


def _stage(
    piece: Piece,
    openings: _Openings,
    job: ImportJob,
    how: IngestOptions,
    staging: Staging,
    counts: RowCounts,
    kept_out: set[int],
) -> None:
    """Take in the rows of one file, but not those whose question is in `kept_out`."""
    source, form, expected = openings.open(piece)
    counts.open(piece.label, source.unit, heldout=piece in job.heldout)
    started = counts.read
    with _named(piece, source.path), Ticker(f"checking {piece.label}", "rows", expected) as ticker:
        rows: Iterable[Row] = source.rows(form.columns)
        for example in import_rows(_unbroken(source, rows) if job.published else rows, form, counts, how.filters):
            if kept_out and staging.hash(example) in kept_out:
                counts.leave_out(HELDOUT_REASON)
            else:
                staging.add(example)
            ticker.update(counts.read - started)


def _unbroken(source: Source, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        if row.broken:
            raise DataError(
                f"{source.path} is damaged: {row.broken} at {source.unit} {row.position}", "fetch it again with --force"
            )
        yield row


def _check_amount(workspace: Workspace, job: ImportJob, about: Publication, kept: int, keep_good: bool) -> None:
    """Refuse data with no good row, or with too many bad ones unless those are knowingly dropped."""
    wanted, counts = "labelled answers" if about.kind == "labels" else "preference pairs", about.counts
    if not kept and counts.left_out:
        for line in counts.lines():
            console.say(f"  {line}")
        raise nothing_left(about)
    too_bad, limit = counts.too_bad(job.most_refused if kept else 0)
    if too_bad and not (kept and keep_good):
        report = refuse(workspace, about)
        for line in counts.lines():
            console.say(f"  {line}")
        one = sum(share.bad for share in too_bad) == 1
        raise DataError(
            f"{job.name}: {' and '.join(map(str, too_bad))} {'is' if one else 'are'} no good"
            f" {wanted.removesuffix('s') if one else wanted}, so nothing was taken in;"
            f" {report} names {'it' if one else 'each of them'}",
            f"{job.advice}, or keep the {'' if kept == 1 else f'{kept:,} '}good {'one' if kept == 1 else 'ones'}"
            f" with --keep-good (without it {limit})"
            if kept
            else job.advice,
        )
    if not kept:
        raise DataError(f"{job.name}: there are no rows", f"name a file that holds {wanted}")


def describe(done: ImportResult) -> list[str]:
    """The lines that tell a person what is there now, and what was refused or left out on the way."""
    manifest, counts = done.manifest, done.counts
    train, heldout = manifest.files[0], manifest.heldout
    lines = []
    if counts.bad:
        lines.append(f"  refused {counts.bad:,} of {counts.read:,} rows (each in data/{manifest.name}.report.json):")
        lines += [f"    {line}" for line in counts.lines()]
    if counts.left_out:
        lines += ["  left out:", *(f"    {line}" for line in counts.left_out_lines())]
    lines.append(f"{manifest.name}: {_amount(train)} to train on in data/{train.file}")
    if heldout is not None:
        lines.append(f"{heldout.dataset}: {_amount(heldout)} held out in data/{heldout.file}")
    elif done.nothing_held_out:
        lines.append(f"  nothing is held out: {done.nothing_held_out}")
    return lines


def _amount(file: DataFile) -> str:
    if file.desirable is None:
        return f"{file.rows:,} pair{'s' * (file.rows != 1)}"
    return f"{file.rows:,} answers ({file.desirable:,} desirable, {file.rows - file.desirable:,} undesirable)"


def next_steps(there: list[DataManifest]) -> list[str]:
    """What to type next, for pairs and for labelled answers."""
    labels = [manifest.name for manifest in there if manifest.files[0].desirable is not None]
    pairs = [manifest.name for manifest in there if manifest.files[0].desirable is None]
    lines = []
    if labels:
        command = f"rlguide train --method kto --dataset {','.join(labels)}"
        lines.append(f"labelled single answers: these are for KTO: {command}")
    if pairs:
        lines.append(f"next: rlguide inspect {pairs[0]}, then rlguide configure --dataset {','.join(pairs)}")
    return lines
