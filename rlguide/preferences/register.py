"""`rlguide register`: a user's own file to checked, registered files in the workspace."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.errors import DataError, RlguideError, UsageError, did_you_mean
from rlguide.preferences.detection import detect_format
from rlguide.preferences.formats import FORMATS, Format
from rlguide.preferences.label_formats import LABEL_FORMATS, LabelFormat
from rlguide.preferences.manifest import DataFile, DataManifest
from rlguide.preferences.progress import Ticker
from rlguide.preferences.readers import Source, expected_rows, open_source
from rlguide.preferences.registry import check_name, safe_name
from rlguide.preferences.staging import Staging
from rlguide.preferences.store import (
    Publication,
    Tally,
    check_disk,
    check_free,
    check_test_size,
    checked_labels,
    checked_pairs,
    publish,
    writing,
)
from rlguide.workspace import Workspace

DETECT_ROWS = 50
MOST_REFUSED = 0.01  # more bad rows than this are a mistake in the file, not a few slips
EXPANSION = 3.0  # the written file and its temporary copy, over the file's own bytes


@dataclass(frozen=True)
class RegisterOptions:
    """How a file is taken in.

    name: of the dataset; None makes one from the file's name. form: a name of `FORMATS` or `LABEL_FORMATS`, or "auto".
    test_size: share to hold out (None: 5 %, at most 2,000 rows). keep_good: drop bad rows however many they are.
    force: replace a dataset of that name.
    """

    name: str | None = None
    form: str = "auto"
    test_size: float | None = None
    seed: int = 42
    keep_good: bool = False
    force: bool = False


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
    name = options.name if options.name is not None else safe_name(path.stem)
    check_name(name)
    source = open_source(path)
    form = _format(source, options.form)
    check_free(workspace, name, options.force)
    _check_not_itself(workspace, name, path)
    size = path.stat().st_size
    check_disk(workspace, round(size * EXPANSION))
    console.say(f"{path.name}: {source.kind}, format {form.name}: {form.sentence}")
    tally = Tally()
    labelled = isinstance(form, LabelFormat)
    with writing(workspace, name), Staging(workspace.data, name, options.seed, apart=labelled) as staging:
        _stage(source, form, tally, staging)
        _check_amount(source, tally, len(staging), options.keep_good, labelled)
        about = Publication(name, _origin(path, form), _recorded(options), tally, options.test_size, labelled)
        return Registered(publish(workspace, about, staging), form, source, tally)


def _stage(source: Source, form: Format | LabelFormat, tally: Tally, staging: Staging) -> None:
    with Ticker(f"checking {source.path.name}", "rows", expected_rows(source)) as ticker:
        examples = (
            checked_labels(source.rows(form.columns), form, tally)
            if isinstance(form, LabelFormat)
            else checked_pairs(source.rows(form.columns), form, tally)
        )
        for example, line, _ in examples:
            staging.add(example, line)
            ticker.update(tally.read)


def _format(source: Source, wanted: str) -> Format | LabelFormat:
    if wanted == "auto":
        return detect_format([row.value for row in islice(source.rows(), DETECT_ROWS)], source.path)
    known: dict[str, Format | LabelFormat] = {**FORMATS, **LABEL_FORMATS}
    if wanted not in known:
        raise UsageError(
            f"no format {wanted}{did_you_mean(wanted, list(known))}", f"choose from auto, {', '.join(known)}"
        )
    return known[wanted]


def _check_not_itself(workspace: Workspace, name: str, path: Path) -> None:
    for target in (f"{name}.jsonl", f"{name}_test.jsonl"):
        written = workspace.data / target
        if written.exists() and written.samefile(path):
            raise UsageError(
                f"{path} is where the checked rows would be written",
                f"give them another name, for example --name {safe_name(name + '_checked')}",
            )


def _check_amount(source: Source, tally: Tally, kept: int, keep_good: bool, labelled: bool) -> None:
    """Refuse a file with no good row, or with more than 1 % bad ones unless those are knowingly dropped."""
    wanted = "labelled answers" if labelled else "preference pairs"
    if tally.bad and (not kept or (tally.bad > MOST_REFUSED * tally.read and not keep_good)):
        for line in tally.lines(source.unit):
            console.say(f"  {line}")
        share = f"{tally.bad:,} of {tally.read:,} rows ({tally.bad / tally.read:.1%})"
        raise DataError(
            f"{source.path}: {share} are no {wanted}, so nothing was written",
            f"correct them, or keep the {kept:,} good rows with --keep-good"
            if kept
            else "correct them, or name the right --format",
        )
    if not kept:
        raise DataError(f"{source.path} holds no rows", f"name a file that holds {wanted}")


def _origin(path: Path, form: Format | LabelFormat) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": str(path.resolve()), "format": form.name, "bytes": path.stat().st_size, "sha256": digest}


def _recorded(options: RegisterOptions) -> dict[str, Any]:
    return {"test_size": options.test_size, "seed": options.seed, "keep_good": options.keep_good}


def describe(done: Registered) -> list[str]:
    """The lines that tell a person what is there now."""
    manifest = done.manifest
    train, heldout = manifest.files[0], manifest.heldout
    lines = []
    if done.tally.bad:
        lines.append(f"  left out {done.tally.bad:,} of {done.tally.read:,} rows:")
        lines += [f"    {line}" for line in done.tally.lines(done.source.unit)]
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
