"""Findings about the workspace: datasets, leftovers of killed commands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator

from rlguide.data.store.dataset_info import REMOTE_KEYS, read_registry
from rlguide.doctor.finding import Finding, warn_if
from rlguide.errors import RlguideError
from rlguide.policy.checkpoint import find_checkpoints
from rlguide.policy.run_state import resume_command
from rlguide.runs.record import find_runs
from rlguide.workspace import Workspace

_OLD_ENOUGH = 3600.0  # seconds after which whoever wrote a temporary file is gone


def check_workspace(ws: Workspace) -> Iterator[Finding]:
    """Registered datasets without files, leftovers, unusable checkpoints, interrupted runs."""
    yield from _datasets(ws)
    yield from _leftovers(ws)
    checkpoints = find_checkpoints(ws)
    broken = [item for item in checkpoints if item.problem]
    text = f"{len(checkpoints)} under {ws.saves}"
    text += f", {len(broken)} of them unusable" if broken else ""
    yield warn_if(bool(broken), "checkpoints", text, "`rlguide checkpoints` says why")
    for run in find_runs(ws):
        if run.status == "interrupted":
            yield Finding("warning", "runs", f"{run.name} was interrupted", resume_command(run.name))


def _datasets(ws: Workspace) -> Iterator[Finding]:
    try:
        entries = read_registry(ws)
    except RlguideError as error:
        yield Finding("problem", "datasets", error.what, error.fix)
        return
    missing = [
        name
        for name, entry in entries.items()
        if not any(key in entry for key in REMOTE_KEYS)
        and isinstance(entry.get("file_name"), str)
        and not (ws.data / entry["file_name"]).exists()
    ]
    text = f"{len(entries)} registered in {ws.dataset_info}" if entries else "none registered yet"
    if missing:
        names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        text += f"; the files of {names} are missing"
    yield warn_if(bool(missing), "datasets", text, "download or register them again")


def _leftovers(ws: Workspace) -> Iterator[Finding]:
    """Temporary files of writes that were killed: each is hidden, ends in .tmp and lies beside its target."""
    now = time.time()
    old = [
        path
        for folder in (ws.data, ws.configs, ws.saves)
        for path in folder.glob(".*.tmp")
        if path.is_file() and now - path.stat().st_mtime > _OLD_ENOUGH
    ]
    if old:
        size = sum(path.stat().st_size for path in old)
        fix = "rm " + " ".join(shlex.quote(str(path)) for path in old[:5])
        what = f"{len(old)} temporary files ({size / 1e6:.1f} MB) of killed commands"
        yield Finding("warning", "leftovers", what, fix)
