"""What is known about a dataset that rlguide wrote: `data/<name>.manifest.json`, beside the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlguide.errors import DataError
from rlguide.workspace import Workspace, read_json


@dataclass(frozen=True)
class DataFile:
    """One registered file as it was when it was written; `file` is relative to the data folder.

    `desirable` counts the rows with that label, None in a file of pairs.
    """

    dataset: str
    file: str
    rows: int
    bytes: int
    mtime_ns: int
    sha256: str
    desirable: int | None = None

    def unchanged(self, folder: Path) -> bool:
        """Whether size and time of change are still the same. Cheap; says nothing about a careful forger."""
        try:
            status = (folder / self.file).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.bytes, self.mtime_ns)


@dataclass(frozen=True)
class DataManifest:
    """Where a dataset came from and what was written. `files[0]` is for training, `files[1]`, if any, held out.

    refused: invalid rows by reason (each one with its place is in `<name>.report.json`). left_out: valid rows that the
    filters in `options` dropped, by reason.
    """

    name: str
    created: str
    rlguide: str
    source: dict[str, Any]
    options: dict[str, Any]
    rows_read: int
    refused: dict[str, int]
    left_out: dict[str, int] = field(default_factory=dict)
    files: list[DataFile] = field(default_factory=list)

    @property
    def heldout(self) -> DataFile | None:
        return self.files[1] if len(self.files) > 1 else None


def manifest_path(workspace: Workspace, name: str) -> Path:
    """Where the manifest of a dataset is."""
    return workspace.data / f"{name}.manifest.json"


def read_manifest(workspace: Workspace, name: str) -> DataManifest | None:
    """The manifest of a dataset, or None if there is none or it is not one of rlguide's."""
    path = manifest_path(workspace, name)
    try:
        loaded = read_json(path)
        return DataManifest(**{**loaded, "files": [DataFile(**entry) for entry in loaded["files"]]})
    except (DataError, TypeError, KeyError):
        return None
