"""A workspace's datasets in a temporary folder, for a dry run that needs a view which is not there yet."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlguide.workspace import Workspace


@contextmanager
def shadow(ws: Workspace) -> Iterator[Workspace]:
    """A workspace that reads the datasets of `ws` and keeps what is written in it to itself; gone afterwards.

    Files are links. dataset_info.json is a copy, since whoever changes it follows links.
    """
    with tempfile.TemporaryDirectory(prefix="rlguide-dry-run-") as name:
        copy = Workspace(Path(name))
        copy.data.mkdir()
        for path in ws.data.rglob("*"):
            target = copy.data / path.relative_to(ws.data)
            if path.is_dir() and not path.is_symlink():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.resolve())
        if ws.dataset_info.exists():
            copy.dataset_info.unlink()
            shutil.copyfile(ws.dataset_info, copy.dataset_info)
            _keep_paths(ws, copy.dataset_info)
        yield copy


def _keep_paths(ws: Workspace, registry: Path) -> None:
    """Let entries that name files outside of the data folder find them from another folder."""
    try:
        entries = json.loads(registry.read_text(encoding="utf-8"))
        outside = [entry for entry in entries.values() if ".." in Path(entry.get("file_name") or "").parts]
    except (ValueError, AttributeError, TypeError):
        return  # whoever reads it says what is wrong with it
    for entry in outside:
        entry["file_name"] = str((ws.data / entry["file_name"]).resolve())
    if outside:
        registry.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
