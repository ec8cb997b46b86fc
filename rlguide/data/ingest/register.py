"""`rlguide register`: a user's own files to checked, registered files in the workspace."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.pipeline import ImportJob, ImportResult, Piece, describe, import_each, look, run
from rlguide.data.names import heldout_name, safe_name
from rlguide.data.readers.source import plain_stem
from rlguide.data.sources.selection import FileSelection
from rlguide.data.sources.splits import files_of_folder
from rlguide.data.store.manifest import DataManifest, size_and_time
from rlguide.data.store.publish import check_free, check_space, writing
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace


def register_all(workspace: Workspace, paths: list[Path], options: IngestOptions) -> None:
    """Import files or folders one after the other and report each.

    Raises UsageError for an option that cannot be meant, before anything is started; else as `import_each`.
    """
    options.check()
    if options.name is not None and len(paths) > 1:
        raise UsageError("--name names one dataset, and several files are given", "register them one at a time")
    names = [_dataset_name(path, options) for path in paths]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"two of these would be called {name}", "register them one at a time, with --name")

    if options.dry_run:
        for path in paths:
            look(_job(path, options))
        return

    def make(path: Path) -> tuple[DataManifest, list[str]]:
        done = register_path(workspace, path, options)
        return done.manifest, describe(done)

    import_each(((path.name, path) for path in paths), make)


def register_path(workspace: Workspace, path: Path, options: IngestOptions) -> ImportResult:
    """Check every row of a file, or of the files in a folder, write the valid ones to `data/` and register them.

    Raises UsageError for a name that is taken or cannot be one, or an option that cannot be meant; else as `run`.
    """
    options.check()
    job = _job(path, options)
    files = [Path(file["file"]) for file in job.source.get("files", [job.source])]
    check_free(workspace, job.name, options.force)
    _check_not_itself(workspace, job.name, files)
    check_space(workspace, [(file.name, file.stat().st_size) for file in files])
    with writing(workspace, job.name):
        check_free(workspace, job.name, options.force)  # somebody else may have made it while this one waited
        return run(workspace, job)


def _job(path: Path, options: IngestOptions) -> ImportJob:
    train, heldout = _files(path, options.selection)
    # No checksum: that takes half as long again as all the rest.
    described: list[dict[str, Any]] = [
        {"file": str(file.resolve()), **size_and_time(file)} for file in (*train, *heldout)
    ]
    source = {"folder": str(path.resolve()), "files": described} if path.is_dir() else described[0]
    pieces = [[Piece(_label(file, path), partial(Path, file)) for file in part] for part in (train, heldout)]
    advice = "correct the data, or say what its columns hold with --columns"
    return ImportJob(_dataset_name(path, options), pieces[:1], pieces[1], options, options.recorded(), source, advice)


def _dataset_name(path: Path, options: IngestOptions) -> str:
    """The name that is given, else one made from that of the file or folder."""
    if options.name is not None:
        return options.name
    return safe_name(path.resolve().name if path.is_dir() else plain_stem(path))


def _files(path: Path, wanted: FileSelection) -> tuple[list[Path], list[Path]]:
    """Training and held-out files."""
    if path.is_dir():
        found = files_of_folder(path, wanted)
        if found.not_taken:
            console.say(f"{path}: {found.not_taken}")
        train, heldout = ([path / name for name in names] for names in (found.train, found.heldout))
        empty = [file for file in (*train, *heldout) if not file.stat().st_size]
        for file in empty:
            console.warn(f"skipped {_label(file, path)}: it is empty")
        return [file for file in train if file not in empty], [file for file in heldout if file not in empty]
    if wanted.subset or wanted.files:
        raise UsageError(f"{path} is a file, and --subset and --file choose from a folder", "leave them out")
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise DataError(f"{path} {what}", "name a JSON, JSONL, Parquet, Arrow, CSV or Excel file, or a folder of them")
    return [path], []


def _label(file: Path, given: Path) -> str:
    label = file.relative_to(given).as_posix() if given.is_dir() else file.name
    return os.fsencode(label).decode(errors="backslashreplace")


def _check_not_itself(workspace: Workspace, name: str, files: list[Path]) -> None:
    for target in (name, heldout_name(name)):
        written = workspace.data / f"{target}.parquet"
        for file in files:
            if written.exists() and written.samefile(file):
                raise UsageError(
                    f"{file} is where the checked rows would be written",
                    f"give them another name, for example --name {safe_name(name + '_checked')}",
                )
