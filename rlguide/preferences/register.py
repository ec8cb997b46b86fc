"""`rlguide register`: a user's own files to checked, registered files in the workspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rlguide import console
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.preferences.intake import MOST_REFUSED, How, Intake, Piece, TakenIn, describe, run
from rlguide.preferences.readers import packing, plain_stem
from rlguide.preferences.registry import check_name, safe_name
from rlguide.preferences.splits import ANYTHING, Wanted, files_of_folder
from rlguide.preferences.store import check_disk, check_free, writing
from rlguide.workspace import Workspace

EXPANSION = 3.0  # the written file and the rows that wait, over the file's own bytes
EXPANSION_PACKED = 12.0  # of compressed text


@dataclass(frozen=True)
class RegisterOptions:
    """How a file or folder is taken in.

    name: of the dataset; None makes one from the file's name. force: replace a dataset of that name. wanted: split,
    subset or files of a folder, if they are named.
    """

    name: str | None = None
    how: How = field(default_factory=How)
    force: bool = False
    wanted: Wanted = ANYTHING


def register_path(workspace: Workspace, path: Path, options: RegisterOptions) -> TakenIn:
    """Check every row of a file, or of the files in a folder, write the good ones to `data/` and register them.

    Raises:
        UsageError: the name is taken or cannot be one; an option that cannot be meant.
        DataError: a file cannot be read, has no known format, or too many bad rows. Nothing is taken in then.
    """
    options.how.check()
    name = options.name if options.name is not None else safe_name(path.name if path.is_dir() else plain_stem(path))
    check_name(name)
    train, heldout = _files(path, options.wanted)
    check_free(workspace, name, options.force)
    _check_not_itself(workspace, name, [*train, *heldout])
    _check_space(workspace, [*train, *heldout])
    if heldout and options.how.test_size is not None:
        console.warn(f"--test-size is not used: {path} has a held-out split of its own")
    pieces = [[Piece(_label(file, path), partial(_here, file)) for file in files] for files in (train, heldout)]
    intake = Intake(
        name,
        pieces[:1],
        pieces[1],
        expected=None,
        published=False,
        most_refused=MOST_REFUSED,
        advice="correct them, or name the right --format",
        recorded=options.how.recorded(),
    )
    origin = _origin(path, [_described(file) for file in (*train, *heldout)])
    with writing(workspace, name):
        check_free(workspace, name, options.force)  # somebody else may have made it while this one waited
        return run(workspace, intake, options.how, lambda: origin)


def _files(path: Path, wanted: Wanted) -> tuple[list[Path], list[Path]]:
    """Training and held-out files."""
    if path.is_dir():
        return files_of_folder(path, wanted)
    if wanted != ANYTHING:
        raise UsageError(f"{path} is a file, and --split, --subset and --file choose from a folder", "leave them out")
    if not path.exists():
        raise DataError(f"{path} does not exist", "name a JSON, JSONL, Parquet or CSV file, or a folder of them")
    return [path], []


def _label(file: Path, given: Path) -> str:
    return file.relative_to(given).as_posix() if given.is_dir() else file.name


def _here(file: Path) -> Path:
    return file


def _check_not_itself(workspace: Workspace, name: str, files: list[Path]) -> None:
    for target in (f"{name}.parquet", f"{name}_test.parquet"):
        written = workspace.data / target
        for file in files:
            if written.exists() and written.samefile(file):
                raise UsageError(
                    f"{file} is where the checked rows would be written",
                    f"give them another name, for example --name {safe_name(name + '_checked')}",
                )


def _check_space(workspace: Workspace, files: list[Path]) -> None:
    try:
        needed = sum(file.stat().st_size * (EXPANSION_PACKED if packing(file) else EXPANSION) for file in files)
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}", "check its permissions") from error
    check_disk(workspace, round(needed))


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
    if options.name is not None and len(paths) > 1:
        raise UsageError("--name names one dataset, and several files are given", "register them one at a time")
    failed: list[str] = []
    pairs: list[str] = []
    labels: list[str] = []
    for path in paths:
        try:
            done = register_path(workspace, path, options)
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
        console.say(f"next: rlguide inspect {pairs[0]}, then rlguide configure --dataset {','.join(pairs)}")
    if failed:
        raise RlguideError(
            f"{len(failed)} of {len(paths)} files were not registered: {', '.join(failed)}",
            "see the lines above, then register those again",
        )
