"""Files, from wherever they come, to a published dataset: what `register` and `download` have in common."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from rlguide import console
from rlguide.catalog.methods import SFT_COMMAND
from rlguide.data.checks.examples import check_example
from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import ALL_HELDOUT, NO_SPLIT, Split
from rlguide.data.example import KIND_NAMES, BadRow, Example, ExampleKind
from rlguide.data.formats.reading import Reading, choose_reading
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.preview import preview
from rlguide.data.ingest.split_column import SplitColumn, split_column
from rlguide.data.readers.files import expected_rows, open_source
from rlguide.data.readers.source import Row, Source
from rlguide.data.store.columns import load_arrow
from rlguide.data.store.manifest import DataFile, DataManifest, one_label
from rlguide.data.store.publish import Publication, nothing_left, publish, refuse
from rlguide.data.store.row_counts import NO_PAIR, RowCounts
from rlguide.data.store.staging import Staging
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.progress import Ticker
from rlguide.workspace import Workspace

DETECT_ROWS = 50
AT_ONCE = 64  # rows that are taken from a reader together: it is resumed less often, and few large rows are in memory
MAX_INVALID = 0.01  # share; more invalid rows than this are a mistake in the file, not a few slips
MAX_INVALID_OF_CATALOG = 0.2  # no user can fix a published set; with more it is not the one the catalog describes
IN_HELDOUT = "the same prompt is in the held-out split"

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """One file: the name a person knows it by, and a function that fetches it, which may take long."""

    label: str
    fetch: Callable[[], Path]


@dataclass(frozen=True)
class ImportJob:
    """What is to become one dataset."""

    name: str
    train: Sequence[Sequence[Piece]]  # groups of files
    heldout: Sequence[Piece]  # the dataset's own held-out files
    options: IngestOptions
    recorded: dict[str, Any]  # the options for the manifest; two equal ones make the same files of the same rows
    source: dict[str, Any]  # for the manifest: where the rows came from, complete when all files are fetched
    advice: str  # what to do if too many of the rows are invalid
    expected: int | None = None  # how many rows there are, if that is known
    enough: bool = False  # with `filters.max_samples`: the rest of a group is not fetched once that many rows are there
    published: bool = False  # the catalog knows it, so a row that cannot be read means that a file is damaged


@dataclass(frozen=True)
class ImportResult:
    """A dataset that is there now. nothing_held_out: why not, if something was to be held out."""

    manifest: DataManifest
    counts: RowCounts
    nothing_held_out: str = ""


def run(workspace: Workspace, job: ImportJob) -> ImportResult:
    """Check every row of the files, write the valid ones to `data/` and register them. The caller holds the lock.

    Raises:
        DataError: a file cannot be read, has no known format, or there are too many invalid rows; UsageError: a
        filter does not go with the data. Nothing is imported then. RlguideError: the disk is full.
    """
    load_arrow()
    rows = _Rows(job)
    options, filters, folder = job.options, job.options.filters, workspace.data
    filters.check(rows.kind)
    if job.heldout and options.test_size is not None:
        console.warn(f"--test-size is not used: {job.name} has a held-out split of its own")
    rows_alone = replace(filters, balance_length=False, max_samples=None)
    by_column = rows.split_columns()
    held_out: list[tuple[Piece, SplitColumn | None]] = [(piece, None) for piece in job.heldout]
    held_out += [(piece, split) for piece, split in by_column.items() if split.heldout is not None]
    split = NO_SPLIT if held_out else Split(options.test_size, rows.expected)
    with ExitStack() as stack, _without_collector():
        heldout, kept_out = None, set[int]()
        if held_out:
            heldout = stack.enter_context(Staging(folder / job.name, rows_alone, ALL_HELDOUT, rows.kind))
            for piece, column in held_out:
                rows.stage(piece, heldout, split=column)
            if not len(heldout):
                _check_amount(workspace, job, Publication(job.name, {}, {}, rows.counts, rows.kind), 0)
            kept_out = heldout.hashes()
        train = stack.enter_context(Staging(folder / job.name, filters, split, rows.kind, heldout))
        for group in job.train:
            before = len(train)
            for piece in group:
                rows.stage(piece, train, kept_out, by_column.get(piece))
                if job.enough and filters.satisfied(len(train) - before):
                    break
        about = Publication(job.name, job.source, job.recorded, rows.counts, rows.kind)
        _check_amount(workspace, job, about, len(train))
        return ImportResult(publish(workspace, about, train, heldout), rows.counts, train.nothing_held_out)


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


def look(job: ImportJob) -> None:
    """Say how each file would be read, and show its first examples; nothing is written. Raises as `run`."""
    rows = _Rows(job)
    job.options.filters.check(rows.kind)
    rows.split_columns()
    for piece in [*job.heldout, *(piece for group in job.train for piece in group)][: None if not job.enough else 1]:
        rows.open(piece)
    console.say(f"{job.name}: dry run, nothing was written")


class _Rows:
    """The rows of a job's files, which must all be pairs or all be labelled; the first file is opened at once."""

    def __init__(self, job: ImportJob) -> None:
        self._job = job
        self.open = cache(partial(_open, options=job.options))  # the first one is not fetched twice
        _, reading, expected = self.open((*job.heldout, *job.train[0])[0])
        self.kind: ExampleKind = reading.kind
        self.counts = RowCounts()
        alone = sum(map(len, job.train)) == 1
        known = job.expected or (expected if alone else None)
        # With a filter of rows, how many will be left shows only at the end.
        self.expected = None if job.options.filters.look_at_rows else known

    def split_columns(self) -> dict[Piece, SplitColumn]:
        """The files with a column that says the split, unless the job has held-out files."""
        found: dict[Piece, SplitColumn] = {}
        pieces = [piece for group in self._job.train for piece in group]
        if self._job.heldout or self._job.published or (len(pieces) > 1 and self._job.options.selection.split):
            return found
        for piece in pieces:
            source, reading, _ = self.open(piece)
            if reading.split is None:
                continue
            with _named(piece, source.path):
                split = split_column(source, reading.split, self._job.options.selection)
            if split is not None:
                found[piece] = split
                console.say(f"{piece.label}: {split}")
        wanted = self._job.options.selection
        if not found and "file" in self._job.source and (wanted.split or wanted.heldout_split):
            raise UsageError(
                f"{pieces[0].label} is a file, and no column of it says a split for --split to choose from",
                "leave --split and --heldout-split out, or name the column with --columns split=NAME",
            )
        return found

    def stage(
        self, piece: Piece, staging: Staging, kept_out: Collection[int] = (), split: SplitColumn | None = None
    ) -> None:
        """Check the rows of one file and stage the valid ones, but not those whose prompt is in `kept_out`.

        Of a file with a split column only the rows for training, or the held-out ones, are looked at.
        """
        job, counts = self._job, self.counts
        source, form, expected = self.open(piece)
        if form.kind != self.kind:
            raise DataError(
                f"{piece.label} holds {KIND_NAMES[form.kind]}, and the files before it {KIND_NAMES[self.kind]}",
                "import them as two datasets",
            )
        counts.open(piece.label, source.unit, staging.is_heldout)
        started = counts.read
        with _named(piece, source.path), Ticker(f"checking {piece.label}", "rows", expected) as ticker:
            columns = form.columns if split is None else (*form.columns, split.name)
            rows: Iterable[Row] = source.rows(columns, form.conversations)
            if split is not None:
                rows = split.of(rows, split.heldout if staging.is_heldout else split.train)
            if job.published:
                rows = _unbroken(source, rows)
            rows = iter(rows)
            while some := list(islice(rows, AT_ONCE)):
                found = list(import_rows(some, form, counts, job.options.filters))
                apart = [one for one in found if staging.hash(one) not in kept_out] if kept_out else found
                counts.add_filtered(IN_HELDOUT, len(found) - len(apart))
                staging.add(*apart)
                ticker.update(counts.read - started)


def _open(piece: Piece, options: IngestOptions) -> tuple[Source, Reading, int | None]:
    """Fetch a file; tell how its rows are read, and how many it has, where that is quick to tell."""
    path = piece.fetch()
    with _named(piece, path):
        source = open_source(path, options.reading)
        first = first_rows(source, {column for column, _ in options.wanted.columns})
        check_first(path, source, first)
        rows = [row.value for row in first]
        reading = choose_reading(rows, path, options.wanted)
        _check_pairing(reading, options.pairing)
        console.say(f"{piece.label}: {source.kind}; {reading.explain(rows)}")
        for line in (*(f"  {note}" for note in source.notes), *preview(reading, rows)):
            console.say(line)
    return source, reading, expected_rows(source)


def first_rows(source: Source, wanted: set[str]) -> list[Row]:
    """The first rows, and the first of the others that has a column which a person named and these lack."""
    rows = source.rows()
    found = list(islice(rows, DETECT_ROWS))
    missing = wanted.difference(*(row.value for row in found if isinstance(row.value, dict)))
    for row in rows if missing else ():
        if isinstance(row.value, dict) and not missing.isdisjoint(row.value):
            found.append(row)
            missing.difference_update(row.value)
            if not missing:
                break
    return found


def check_first(path: Path, source: Source, rows: Sequence[Row]) -> None:
    """Raises DataError for a file without rows, or of whose first rows none can be read."""
    if not rows and source.kind in ("CSV", "Excel"):
        raise DataError(f"{path} has no rows below the line with the names of its columns", "name a file with rows")
    if rows and all(row.broken for row in rows):
        raise DataError(
            f"{path}: none of its first {len(rows)} rows can be read: {rows[0].broken} ({source.unit} "
            f"{rows[0].position})",
            "correct the file there; the first line of a table must name every column",
        )


def _check_pairing(reading: Reading, pairing: str) -> None:
    if pairing != "best-worst" and reading.name != "scored-list":
        raise UsageError(
            f"--pairing {pairing} is for lists of scored responses, and the rows here are read as {reading.name}",
            "leave --pairing out, or name the shape with --format scored-list",
        )


@contextmanager
def _named(piece: Piece, path: Path) -> Iterator[None]:
    """Errors name the file as a person knows it, not as it lies in some cache."""
    try:
        yield
    except DataError as error:
        raise DataError(str(error.what).replace(str(path), piece.label), error.fix) from error


def import_rows(rows: Iterable[Row], form: Reading, counts: RowCounts, filters: Filters) -> Iterator[Example]:
    """Yield what is good and wanted of the rows; all else is counted in `counts`."""
    picky, convert = filters.look_at_rows, form.to_examples
    for position, value, broken in rows:
        counts.read += 1
        try:
            if broken:
                raise BadRow(broken)
            if not isinstance(value, dict):
                raise BadRow("not an object")
            examples = convert(value)
            for example in examples:
                check_example(example)
        except BadRow as reason:
            counts.add_invalid(str(reason), position)
            continue
        if not examples:
            counts.add_filtered(NO_PAIR)
        for example in examples:
            objection = filters.objection(example) if picky else None
            if objection is None:
                yield example
            else:
                counts.add_filtered(objection)


def _unbroken(source: Source, rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        if row.broken:
            raise DataError(
                f"{source.path} is damaged: {row.broken} at {source.unit} {row.position}", "fetch it again with --force"
            )
        yield row


_ONE: dict[ExampleKind, str] = {"pairs": "preference pair", "labels": "labelled response", "responses": "response"}


def _check_amount(workspace: Workspace, job: ImportJob, about: Publication, kept: int) -> None:
    """Refuse data with no valid row, or with too many invalid ones unless those are knowingly dropped."""
    kind, counts = _ONE[about.kind], about.counts
    if not kept and counts.filtered:
        for line in counts.lines():
            console.say(f"  {line}")
        raise nothing_left(about)
    most = MAX_INVALID_OF_CATALOG if job.published else MAX_INVALID
    excess, limit = counts.excess(most if kept else 0)
    if excess and not (kept and job.options.keep_good):
        report = refuse(workspace, about)
        for line in counts.lines():
            console.say(f"  {line}")
        one = sum(share.invalid for share in excess) == 1
        what, names = (f"is not a valid {kind}", "it") if one else (f"are not valid {kind}s", "each of them")
        ones = "valid one" if kept == 1 else f"{kept:,} valid ones"
        raise DataError(
            f"{job.name}: {' and '.join(map(str, excess))} {what}, so nothing was imported; {report} names {names}",
            f"{job.advice}, or keep the {ones} with --keep-good (without it {limit})" if kept else job.advice,
        )
    if not kept:
        raise DataError(f"{job.name}: there are no rows", f"name a file that holds {kind}s")


def describe(done: ImportResult) -> list[str]:
    """The lines that tell a person what is there now, and which rows were dropped on the way."""
    manifest, counts = done.manifest, done.counts
    train, heldout = manifest.files[0], manifest.heldout
    lines = []
    if counts.invalid:
        total = f"{counts.invalid.total():,} of {counts.read:,} rows"
        lines.append(f"  dropped {total} as invalid (each in data/{manifest.name}.report.json):")
        lines += [f"    {line}" for line in counts.lines()]
    if counts.filtered:
        lines += ["  filtered out:", *(f"    {line}" for line in counts.filtered_lines())]
    lines.append(f"{manifest.name}: {_amount(train, manifest.kind)} to train on in data/{train.file}")
    if heldout is not None:
        lines.append(f"{heldout.dataset}: {_amount(heldout, manifest.kind)} held out in data/{heldout.file}")
    elif done.nothing_held_out:
        lines.append(f"  nothing is held out: {done.nothing_held_out}")
    return [*lines, *filter(None, [one_label(manifest)])]


def _amount(file: DataFile, kind: str) -> str:
    if file.desirable is None:
        return f"{file.rows:,} {'response' if kind == 'responses' else 'pair'}{'s' * (file.rows != 1)}"
    return f"{file.rows:,} responses ({file.desirable:,} desirable, {file.rows - file.desirable:,} undesirable)"


def import_each(items: Iterable[tuple[str, T]], make: Callable[[T], tuple[DataManifest, list[str]]]) -> None:
    """Import one dataset after the other and report each; one that fails does not stop the others.

    `items` are by the names that a summary gives them; of what `make` returns, the lines are shown. Raises
    RlguideError: the failure of the only one, or a summary of several.
    """
    items, failed, there = list(items), list[str](), list[DataManifest]()
    for name, item in items:
        try:
            manifest, lines = make(item)
        except RlguideError as error:
            if len(items) == 1:
                raise
            failed.append(name)
            lines = [f"error: {error.what}\n  fix: {error.fix}"]
        else:
            there.append(manifest)
        for line in lines:
            console.say(line)
    for line in _next_steps(there):
        console.say(line)
    if failed:
        raise RlguideError(
            f"{len(failed)} of {len(items)} failed: {', '.join(failed)}",
            "see the lines above, then run the command again for those",
        )


def _next_steps(there: list[DataManifest]) -> list[str]:
    """What to type next, for pairs, labelled responses and single ones."""
    single = [manifest.name for manifest in there if manifest.kind == "responses"]
    labels = [manifest.name for manifest in there if manifest.files[0].desirable is not None]
    pairs = [manifest.name for manifest in there if manifest.name not in (*labels, *single)]
    lines = []
    if labels:
        command = f"rlguide train --method kto --dataset {','.join(labels)}"
        lines.append(f"labelled single responses: these are for KTO: {command}")
    if single:
        command = f"{SFT_COMMAND} --dataset {','.join(single)}"
        lines.append(f"single responses, which nothing says to be good or bad: these are for SFT: {command}")
    if pairs:
        lines.append(f"next: rlguide inspect {pairs[0]}, then rlguide configure --dataset {','.join(pairs)}")
    return lines
