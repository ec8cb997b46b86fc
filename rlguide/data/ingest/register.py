"""`rlguide register`: a user's own files to checked, registered files in the workspace."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.data.ingest.pipeline import (
    MOST_REFUSED,
    ImportJob,
    ImportResult,
    IngestOptions,
    Piece,
    describe,
    next_steps,
    run,
)
from rlguide.data.names import check_name, heldout_name, safe_name
from rlguide.data.readers.source import plain_stem
from rlguide.data.sources.splits import ANYTHING, FileSelection, files_of_folder
from rlguide.data.store.manifest import DataManifest
from rlguide.data.store.publish import check_free, check_space, writing
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class RegisterOptions:
    """How a file or folder is taken in.

    name: of the dataset; None makes one from the file's name. force: replace a dataset of that name. wanted: split,
    subset or files of a folder, if they are named.
    """

    name: str | None = None
    how: IngestOptions = field(default_factory=IngestOptions)
    force: bool = False
    wanted: FileSelection = ANYTHING


def register_path(workspace: Workspace, path: Path, options: RegisterOptions) -> ImportResult:
    """Check every row of a file, or of the files in a folder, write the good ones to `data/` and register them.

    Raises:
        UsageError: the name is taken or cannot be one; an option that cannot be meant.
        DataError: a file cannot be read, has no known format, or too many bad rows. Nothing is taken in then.
    """
    options.how.check()
    name = dataset_name(path, options)
    check_name(name)
    train, heldout = _files(path, options.wanted)
    check_free(workspace, name, options.force)
    _check_not_itself(workspace, name, [*train, *heldout])
    check_space(workspace, [(file.name, file.stat().st_size) for file in (*train, *heldout)])
    pieces = [[Piece(_label(file, path), partial(Path, file)) for file in files] for files in (train, heldout)]
    job = ImportJob(
        name,
        pieces[:1],
        pieces[1],
        expected=None,
        enough=False,
        published=False,
        most_refused=MOST_REFUSED,
        advice="correct the data, or name the right --format",
        recorded={**options.how.recorded(), **options.wanted.recorded()},
    )
    origin = _origin(path, [_described(file) for file in (*train, *heldout)])
    with writing(workspace, name):
        check_free(workspace, name, options.force)  # somebody else may have made it while this one waited
        return run(workspace, job, options.how, lambda: origin)


def dataset_name(path: Path, options: RegisterOptions) -> str:
    """The name that is given, else one made from that of the file or folder."""
    if options.name is not None:
        return options.name
    return safe_name(path.resolve().name if path.is_dir() else plain_stem(path))


def _files(path: Path, wanted: FileSelection) -> tuple[list[Path], list[Path]]:
    """Training and held-out files."""
    if path.is_dir():
        train, heldout = files_of_folder(path, wanted)
        empty = [file for file in (*train, *heldout) if not file.stat().st_size]
        for file in empty:
            console.warn(f"{_label(file, path)} is empty and left out")
        return [file for file in train if file not in empty], [file for file in heldout if file not in empty]
    if wanted != ANYTHING:
        raise UsageError(f"{path} is a file, and --split, --subset and --file choose from a folder", "leave them out")
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}", "name a JSON, JSONL, Parquet or CSV file, or a folder of them")
    return [path], []


def _label(file: Path, given: Path) -> str:
    label = file.relative_to(given).as_posix() if given.is_dir() else file.name
    return os.fsencode(label).decode(errors="backslashreplace")


def _check_not_itself(workspace: Workspace, name: str, files: list[Path]) -> None:
    for target in (f"{name}.parquet", f"{heldout_name(name)}.parquet"):
        written = workspace.data / target
        for file in files:
            if written.exists() and written.samefile(file):
                raise UsageError(
                    f"{file} is where the checked rows would be written",
                    f"give them another name, for example --name {safe_name(name + '_checked')}",
                )


def _described(file: Path) -> dict[str, Any]:
    """What the manifest says of a file. No checksum: that takes half as long again as all the rest."""
    status = file.stat()
    return {"file": str(file.resolve()), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _origin(path: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
    return {"folder": str(path.resolve()), "files": files} if path.is_dir() else files[0]


def register_all(workspace: Workspace, paths: list[Path], options: RegisterOptions) -> None:
    """Take in files or folders one after the other and report each; one that fails does not stop the others.

    Raises:
        UsageError: an option cannot be meant; nothing was started.
        RlguideError: the failure of the only file, or a summary of several.
    """
    options.how.check()
    options.wanted.check()
    if options.name is not None and len(paths) > 1:
        raise UsageError("--name names one dataset, and several files are given", "register them one at a time")
    names = [dataset_name(path, options) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two of these would be called {name}", "register them one at a time, with --name")
    failed: list[str] = []
    there: list[DataManifest] = []
    for path in paths:
        try:
            done = register_path(workspace, path, options)
        except RlguideError as error:
            if len(paths) == 1:
                raise
            failed.append(path.name)
            console.say(f"error: {error.what}\n  fix: {error.fix}")
            continue
        there.append(done.manifest)
        for line in describe(done):
            console.say(line)
    for line in next_steps(there):
        console.say(line)
    if failed:
        raise RlguideError(
            f"{len(failed)} of {len(paths)} files were not registered: {', '.join(failed)}",
            "see the lines above, then register those again",
        )
