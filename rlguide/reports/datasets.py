"""On what a run was trained: its datasets, where they are from, and whether they are still the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.data.inspect.examples import shortened
from rlguide.data.names import parent_name
from rlguide.data.store.manifest import DataManifest, read_manifest
from rlguide.recipes.data import data_home
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

# Of a manifest's source and options, those that say nothing to a reader of the report.
_UNSAID = {"bytes", "mtime_ns", "files", "entries", "form", "pairing", "seed"}
_LONG = 300  # characters of a value


@dataclass(frozen=True)
class UsedData:
    """A dataset of a run.

    Attributes:
        is_held_out: whether it was evaluated on only.
        rows: as recorded when the run began; None where that is not known.
        source, filters: (name, value) of what its manifest says of where it is from, and of what was left out.
        refused, left_out: invalid rows, and rows that the filters dropped, when it was imported.
        checksum: sha256 as recorded; "" where none is.
        state: "same", "changed" (the data is not that any more), "gone", or "" where nothing tells.
    """

    name: str
    is_held_out: bool
    rows: int | None
    source: tuple[tuple[str, str], ...]
    filters: tuple[tuple[str, str], ...]
    refused: int
    left_out: int
    checksum: str
    state: str


def data_of(ws: Workspace, run: Run) -> list[UsedData]:
    """The datasets of a run: first those that it was trained on, then those that were held out."""
    home = data_home(ws, run.config)
    parts = ((run.record.datasets or {}, False), (run.record.held_out or {}, True))
    return [_used(home, run, name, rows, held_out) for names, held_out in parts for name, rows in names.items()]


def _used(home: Workspace, run: Run, name: str, rows: Any, is_held_out: bool) -> UsedData:
    recorded = (run.record.checksums or {}).get(name)
    manifest = _manifest(home, name)
    file = next((file for file in manifest.files if file.dataset == name), None) if manifest else None
    state = ""
    if isinstance(recorded, str) and manifest is not None:
        state = "gone" if file is None else "same" if file.sha256 == recorded else "changed"
    return UsedData(
        name=shortened(name, _LONG),
        is_held_out=is_held_out,
        rows=rows if type(rows) is int else None,
        source=tuple(_said(manifest.source)) if manifest else (),
        filters=tuple(_said(manifest.options)) if manifest else (),
        refused=sum(manifest.refused.values()) if manifest else 0,
        left_out=sum(manifest.left_out.values()) if manifest else 0,
        checksum=recorded if isinstance(recorded, str) else "",
        state=state,
    )


def _manifest(home: Workspace, name: str) -> DataManifest | None:
    """That of the dataset, or of the one that it is held out from."""
    try:
        return read_manifest(home, name) or read_manifest(home, parent_name(name))
    except (OSError, ValueError):  # a name that no file can have
        return None


def _said(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if value and key not in _UNSAID and isinstance(value, str | int | float):
            yield shortened(key, _LONG), "" if value is True else shortened(str(value), _LONG)
