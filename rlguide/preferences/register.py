"""`rlguide register`: a user's own file to checked, registered files in the workspace."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.preferences.detection import choose_format, explain
from rlguide.preferences.filters import Filters
from rlguide.preferences.formats import Format
from rlguide.preferences.label_formats import LabelFormat
from rlguide.preferences.manifest import DataFile, DataManifest
from rlguide.preferences.progress import Ticker
from rlguide.preferences.readers import Source, expected_rows, open_source, plain_stem
from rlguide.preferences.registry import check_name, safe_name
from rlguide.preferences.report import Tally, told
from rlguide.preferences.scored_lists import Pairing, with_pairing
from rlguide.preferences.staging import Split, Staging
from rlguide.preferences.store import (
    Publication,
    check_disk,
    check_free,
    check_test_size,
    publish,
    refuse,
    take_in,
    writing,
)
from rlguide.workspace import Workspace

DETECT_ROWS = 50
MOST_REFUSED = 0.01  # more bad rows than this are a mistake in the file, not a few slips
EXPANSION = 3.0  # the written file and the rows that wait, over the file's own bytes


@dataclass(frozen=True)
class RegisterOptions:
    """How a file is taken in.

    name: of the dataset; None makes one from the file's name. form: a name of `FORMATS` or `LABEL_FORMATS`, or "auto".
    test_size: share to hold out (None: 5 %, at most 2,000 rows). keep_good: drop bad rows however many they are.
    force: replace a dataset of that name. filters: which good rows are wanted. pairing: how a list of scored answers
    becomes pairs.
    """

    name: str | None = None
    form: str = "auto"
    test_size: float | None = None
    keep_good: bool = False
    force: bool = False
    filters: Filters = field(default_factory=Filters)
    pairing: Pairing = field(default_factory=Pairing)

    def recorded(self) -> dict[str, Any]:
        """What decides the content, for the manifest."""
        return {
            "test_size": self.test_size,
            "keep_good": self.keep_good,
            **asdict(self.filters),
            "pairing": self.pairing.mode,
        }


@dataclass(frozen=True)
class Registered:
    """A file that was taken in."""

    manifest: DataManifest
    form: Format | LabelFormat
    source: Source
    tally: Tally

    @property
    def labelled(self) -> bool:
        """Whether these are labelled answers (for KTO) and not pairs."""
        return isinstance(self.form, LabelFormat)


def register_file(workspace: Workspace, path: Path, options: RegisterOptions) -> Registered:
    """Check every row of `path`, write the pairs or labelled answers to `data/` and register them.

    Raises:
        UsageError: the name is taken or cannot be one; an unknown format.
        DataError: the file cannot be read, has no known format, or too many bad rows. Nothing is written then.
    """
    name = options.name if options.name is not None else safe_name(plain_stem(path))
    check_name(name)
    source = open_source(path)
    first = [row.value for row in islice(source.rows(), DETECT_ROWS)]
    form = with_pairing(choose_format(first, path, options.form), options.pairing)
    labelled = isinstance(form, LabelFormat)
    options.filters.check(labelled)
    check_free(workspace, name, options.force)
    _check_not_itself(workspace, name, path)
    check_disk(workspace, round(path.stat().st_size * EXPANSION))
    console.say(f"{path.name}: {source.kind}; {explain(form, first)}")
    tally = Tally()
    tally.open(path.name, source.unit)
    expected = expected_rows(source)
    split = Split(options.test_size, expected)
    with writing(workspace, name), ThreadPoolExecutor(1) as pool:
        digest = pool.submit(_sha256, path)  # takes as long as the reading, and needs no interpreter
        check_free(workspace, name, options.force)  # somebody else may have made it while this one waited
        with Staging(workspace.data, name, options.filters, split, labelled) as staging:
            with Ticker(f"checking {path.name}", "rows", expected) as ticker:
                for example in take_in(source.rows(form.columns), form, tally, options.filters):
                    staging.add(example)
                    ticker.update(tally.read)
            origin = {"file": str(path.resolve()), "format": form.name, "bytes": path.stat().st_size}
            about = Publication(name, {**origin, "sha256": digest.result()}, options.recorded(), tally, labelled)
            _check_amount(workspace, source, about, len(staging), options.keep_good)
            return Registered(publish(workspace, about, staging), form, source, tally)


def _check_not_itself(workspace: Workspace, name: str, path: Path) -> None:
    for target in (f"{name}.parquet", f"{name}_test.parquet"):
        written = workspace.data / target
        if written.exists() and written.samefile(path):
            raise UsageError(
                f"{path} is where the checked rows would be written",
                f"give them another name, for example --name {safe_name(name + '_checked')}",
            )


def _check_amount(workspace: Workspace, source: Source, about: Publication, kept: int, keep_good: bool) -> None:
    """Refuse a file with no good row, or with more than 1 % bad ones unless those are knowingly dropped."""
    wanted, tally = "labelled answers" if about.labelled else "preference pairs", about.tally
    if tally.bad and (not kept or (tally.bad > MOST_REFUSED * tally.read and not keep_good)):
        report = refuse(workspace, about)
        for line in tally.lines():
            console.say(f"  {line}")
        share = f"{tally.bad:,} of {tally.read:,} rows ({tally.bad / tally.read:.1%})"
        raise DataError(
            f"{source.path}: {share} are no good {wanted}, so nothing was taken in; {report} names each of them",
            f"correct them, or keep the {kept:,} good rows with --keep-good"
            if kept
            else "correct them, or name the right --format",
        )
    if not kept and tally.left_out:
        raise DataError(
            f"{source.path}: the filters leave nothing ({'; '.join(tally.left_out_lines())})", "choose milder filters"
        )
    if not kept:
        raise DataError(f"{source.path} holds no rows", f"name a file that holds {wanted}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(done: Registered) -> list[str]:
    """The lines that tell a person what is there now."""
    manifest = done.manifest
    train, heldout = manifest.files[0], manifest.heldout
    lines = told(done.tally, manifest.name)
    lines.append(f"{manifest.name}: {_amount(train)} to train on in data/{train.file}")
    if heldout is not None:
        lines.append(f"{heldout.dataset}: {_amount(heldout)} held out in data/{heldout.file}")
    elif manifest.options["test_size"] != 0:
        lines.append(f"  nothing is held out: all {'answers' if done.labelled else 'pairs'} share one prompt")
    return lines


def _amount(file: DataFile) -> str:
    if file.desirable is None:
        return f"{file.rows:,} pairs"
    return f"{file.rows:,} answers ({file.desirable:,} desirable, {file.rows - file.desirable:,} undesirable)"


def register_all(workspace: Workspace, paths: list[Path], options: RegisterOptions) -> None:
    """Take in files one after the other and report each; one that fails does not stop the others.

    Raises:
        UsageError: an option cannot be meant; nothing was started.
        RlguideError: the failure of the only file, or a summary of several.
    """
    check_test_size(options.test_size)
    if options.name is not None and len(paths) > 1:
        raise UsageError("--name names one dataset, and several files are given", "register them one at a time")
    failed: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    for path in paths:
        try:
            done = register_file(workspace, path, options)
        except RlguideError as error:
            if len(paths) == 1:
                raise
            failed.append(path.name)
            console.say(f"error: {error.what}\n  fix: {error.todo}")
            continue
        (labels if done.labelled else pairs).append(done.manifest.name)
        for line in describe(done):
            console.say(line)
    if labels:
        command = f"rlguide train --method kto --dataset {','.join(labels)}"
        console.say(f"labelled single answers: these are for KTO: {command}")
    if pairs:
        console.say(f"next: rlguide configure --dataset {','.join(pairs)} --sft-ckpt latest")
    if failed:
        raise RlguideError(
            f"{len(failed)} of {len(paths)} files were not registered: {', '.join(failed)}",
            "see the lines above, then register those again",
        )
