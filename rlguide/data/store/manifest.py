"""What is known about a dataset that rlguide wrote: `data/<name>.manifest.json`, beside the data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any

from rlguide.errors import DataError
from rlguide.workspace import Workspace, read_json


@dataclass(frozen=True)
class DataFile:
    """One registered file as it was when it was written."""

    dataset: str
    file: str  # relative to the data folder
    rows: int
    bytes: int
    mtime_ns: int
    sha256: str
    desirable: int | None = None  # rows with that label, None in a file of pairs

    def unchanged(self, folder: Path) -> bool:
        """Whether size and time of change are still the same. Cheap; says nothing about a careful forger."""
        try:
            return size_and_time(folder / self.file) == {"bytes": self.bytes, "mtime_ns": self.mtime_ns}
        except OSError:
            return False


@dataclass(frozen=True)
class DataManifest:
    """Where a dataset came from and what was written."""

    name: str
    created: str
    rlguide: str
    source: dict[str, Any]
    options: dict[str, Any]
    rows_read: int
    refused: dict[str, int]  # invalid rows by reason; each one with its place is in `<name>.report.json`
    left_out: dict[str, int] = field(
        default_factory=dict
    )  # valid rows that the filters in `options` dropped, by reason
    files: list[DataFile] = field(default_factory=list)  # the first is for training, the second, if any, held out
    kind: str = ""  # what the rows are; earlier versions wrote pairs and labels only, told apart by `desirable`

    @property
    def heldout(self) -> DataFile | None:
        return self.files[1] if len(self.files) > 1 else None

    @property
    def derived_from(self) -> str:
        """The dataset of pairs that rows for KTO were made of, "" for all other rows."""
        return str(self.source.get("derived_from", ""))


def one_label(manifest: DataManifest) -> str:
    """A sentence for labelled responses to train on that all have the same label; "" for others, and for pairs."""
    train = manifest.files[0]
    if train.desirable is None or 0 < train.desirable < train.rows:
        return ""
    label, other = ("desirable", "undesirable") if train.desirable else ("undesirable", "desirable")
    all_ = f"all {train.rows:,} responses are" if train.rows > 1 else "the only response is"
    return f"{all_} {label}, and KTO compares both kinds: check what the labels mean, or add {other} responses"


def size_and_time(path: Path) -> dict[str, int]:
    """What tells cheaply whether a file has changed: the `bytes` and `mtime_ns` of it that a manifest keeps."""
    status = path.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def manifest_path(workspace: Workspace, name: str) -> Path:
    """Where the manifest of a dataset is."""
    return workspace.data / f"{name}.manifest.json"


def read_manifest(workspace: Workspace, name: str) -> DataManifest | None:
    """The manifest of a dataset, or None if there is none or it is not one of rlguide's."""
    path = manifest_path(workspace, name)
    try:
        loaded = read_json(path)
        manifest = DataManifest(**{**loaded, "files": [DataFile(**entry) for entry in loaded["files"]]})
    except (DataError, TypeError, KeyError):
        return None
    counts = [*manifest.refused.values(), *manifest.left_out.values()] if _is_typed(manifest) else [None]
    is_whole = (
        all(isinstance(count, int) for count in counts) and all(map(_is_typed, manifest.files)) and manifest.files
    )
    return manifest if is_whole else None


_KINDS: dict[str, type[Any] | UnionType] = {
    "str": str,
    "int": int,
    "int | None": int | None,
    "dict[str, Any]": dict,
    "dict[str, int]": dict,
    "list[DataFile]": list,
}


def _is_typed(record: DataFile | DataManifest) -> bool:
    return all(isinstance(getattr(record, item.name), _KINDS[str(item.type)]) for item in fields(record))
