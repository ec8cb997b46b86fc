"""Remove a run: its folder, as a whole, unless another run stands on it."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlguide.console import printable
from rlguide.engine.running import held, is_training
from rlguide.errors import RlguideError, UsageError, did_you_mean
from rlguide.policy.checkpoint import locate
from rlguide.policy.merge_fingerprint import MANIFEST
from rlguide.policy.run_record import RUN_FILE, read_record, run_folders
from rlguide.policy.trained_on import parts_below
from rlguide.runs.checkpoints import list_checkpoints, step_of
from rlguide.runs.record import Run
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class RunRemoval:
    """What goes with a run.

    Attributes:
        path: its folder; name: as it is typed.
        files, size: their number, and bytes; steps: of its checkpoints.
        kept: what was made of it and stays, in sentences.
        host: another one, on which it may still train; "" if none.
    """

    path: Path
    name: str
    files: int
    size: int
    steps: tuple[int, ...]
    kept: tuple[str, ...]
    host: str = ""


def plan_run_removal(ws: Workspace, name: str) -> RunRemoval:
    """What `remove_run` would do; nothing is changed. A run whose record is damaged can be removed, too.

    Raises:
        UsageError: it is no run, it is training, another run stands on it, or its folder holds more than the run.
    """
    path = locate(ws, name)
    if not (path / RUN_FILE).is_file():
        known = [ws.relative(folder) for folder in run_folders(ws.saves)]
        raise UsageError(
            f"{name} is not a run: it has no {RUN_FILE}{did_you_mean(name, known)}", "`rlguide runs` lists the runs"
        )
    shown = ws.relative(path)
    if path.is_symlink():
        raise UsageError(
            f"{shown} is a link to {path.readlink()}", f"remove the link (rm {shlex.quote(str(path))}), or name the run"
        )
    _check_alone(ws, path, shown)
    record = read_record(path)
    run = Run(path, shown, record) if record is not None else None
    in_job = run is not None and run.slurm_job is not None and run.status in ("queued", "running", "unknown")
    if in_job or is_training(path, record.pid if record is not None else None):
        what = "is in a Slurm job" if in_job else "is training"
        raise UsageError(f"{shown} {what}", f"stop it first: `rlguide stop {shlex.quote(shown)}`")
    if others := _standing_on(ws, path):
        raise UsageError(
            f"{', '.join(others)} {'stands' if len(others) == 1 else 'stand'} on {shown}: without it"
            " that is another model, or cannot be evaluated",
            f"remove that first: `rlguide runs remove {shlex.quote(others[0])}`",
        )
    files = [file for file in path.rglob("*") if file.is_symlink() or file.is_file()]
    steps = tuple(step_of(folder) for folder in list_checkpoints(path))
    merged = [ws.relative(folder) for folder in _merged(ws) if path.resolve() in _parts(ws, folder)]
    kept = tuple(f"{folder}, which was merged from it" for folder in merged)
    size = sum(file.lstat().st_size for file in files)
    host = "" if record is None else Run(path, shown, record).host_elsewhere
    return RunRemoval(path, shown, len(files), size, steps, kept, printable(host))


def remove_run(ws: Workspace, name: str) -> RunRemoval:
    """Remove a run; returns what went. Raises as `plan_run_removal`, and RlguideError if it cannot be deleted.

    The folder is renamed first, so that whenever this is killed the run is there whole or not at all; what is left of
    it then goes when it is removed again.
    """
    plan = plan_run_removal(ws, name)
    aside = plan.path.with_name(f".{plan.path.name}~removed")
    try:
        with held(plan.path, plan.name):
            shutil.rmtree(aside, ignore_errors=True)
            plan.path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise RlguideError(
            f"cannot remove {error.filename or plan.path}: {error.strerror or error}",
            "check the permissions of that folder and of the one that it lies in",
        ) from error
    return plan


def _check_alone(ws: Workspace, path: Path, shown: str) -> None:
    """Refuse a folder that holds the workspace or another run. Raises UsageError."""
    real = path.resolve()
    for folder in (ws.root, ws.data, ws.configs, ws.saves):
        if folder.resolve().is_relative_to(real):
            raise UsageError(f"{shown} holds {folder}, which is no part of a run", "move the run's files elsewhere")
    for other in run_folders(ws.saves):
        if other.resolve() != real and other.resolve().is_relative_to(real):
            inside = ws.relative(other)
            fix = f"move it, or remove it first: `rlguide runs remove {shlex.quote(inside)}`"
            raise UsageError(f"{shown} holds another run, {inside}", fix)


def _standing_on(ws: Workspace, path: Path) -> list[str]:
    """The other runs that have this one below them: in their stack, as reference, reward model, or in a merged base."""
    others = [folder for folder in run_folders(ws.saves) if folder.resolve() != path.resolve()]
    return sorted(ws.relative(folder) for folder in others if path.resolve() in _parts(ws, folder))


def _parts(ws: Workspace, folder: Path) -> set[Path]:
    """Every run and model below a run or a merged model, also through merged ones; a checkpoint counts as its run."""
    found: set[Path] = set()
    todo = list(_names_below(folder))
    while todo:
        try:
            at = locate(ws, todo.pop()).resolve()
        except (OSError, RuntimeError, ValueError):  # what a record says may be no path at all
            continue
        if at in found:
            continue
        found |= {at, at.parent} if at.name.startswith("checkpoint-") else {at}
        todo += _names_below(at)
    return found


def _names_below(folder: Path) -> Iterator[str]:
    yield from (part.name for part in parts_below(folder))
    record = read_record(folder)
    if record is not None and record.reference is not None:
        yield from (record.reference.base, *record.reference.adapters)


def _merged(ws: Workspace) -> Iterator[Path]:
    for folder, names, files in os.walk(ws.saves):
        names[:] = [name for name in names if not name.startswith((".", "checkpoint-"))]
        if MANIFEST in files:
            yield Path(folder)
