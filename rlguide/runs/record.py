"""A run: its folder, its name in the workspace, and its record (`run.json`)."""

from __future__ import annotations

import math
import platform
import shlex
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.catalog.methods import Method, find_method, recorded_method
from rlguide.console import printable
from rlguide.data.store.registered import checksum
from rlguide.engine.events import recent_events
from rlguide.engine.running import EVENTS
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.launchers.launch import SLURM, Launch, read_launch
from rlguide.launchers.slurm.inside import own_job
from rlguide.launchers.slurm.states import RUNNING, UNKNOWN, WAITING, JobState, ask_ahead, job_of, job_state
from rlguide.policy.checkpoint import locate
from rlguide.policy.parts import digests_of_parts
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import (
    RUN_FILE,
    RecordedReference,
    RunRecord,
    read_record,
    run_folders,
    write_record,
)
from rlguide.policy.run_state import next_step, state_of
from rlguide.recipes.prepare import Prepared
from rlguide.runs.surroundings.gather import gather
from rlguide.workspace import Workspace

CONFIG = "config.yaml"
LOG = "engine.log"
EVALUATED = Path("eval") / "result.json"  # of `rlguide eval`
_BY_PHASE = {WAITING: "queued", RUNNING: "running", UNKNOWN: "unknown"}  # what a run is while its Slurm job is


@dataclass
class Run:
    """One training run. `path` is LLaMA-Factory's output_dir; `name` is how it is typed from the workspace.

    `checkpoint`: the folder inside it that is meant instead of its end (`runs.best.at_step`); "" for the end.
    """

    path: Path
    name: str
    record: RunRecord
    checkpoint: str = ""

    @property
    def status(self) -> str:
        """As `policy.run_state.state_of` says it; of one that trains in a Slurm job, as its files and Slurm say it."""
        state = state_of(self.path, self.record)
        job = self.slurm_job if state == "interrupted" else None
        return state if job is None else _BY_PHASE.get(job.phase, state)

    @property
    def slurm_job(self) -> JobState | None:
        """The Slurm job that trains it, as Slurm tells it; None without one, or where this process runs in it.

        A record may be a copy, or of another cluster: a job that runs in another folder than this workspace is none of
        its, and must not be ended with it.
        """
        launch = self.launch
        job = job_of(launch.handle) if launch.launcher == SLURM else ""
        if not job or job == own_job():
            return None
        state = job_state(job)
        return None if state.folder and _is_other_folder(state.folder, self.path, self.name) else state

    @property
    def is_gone(self) -> bool:
        """Whether its record says that it trains, and no process of it is found here."""
        return self.record.is_open and self.status == "interrupted"

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is recorded as training on another host, of whose processes nothing is known here."""
        return self.host_elsewhere != ""

    @property
    def host_elsewhere(self) -> str:
        """The other host that it is recorded as training on; "" if there is none."""
        is_known = self.launch.launcher == SLURM  # by Slurm
        return self.host if not is_known and self.is_gone and self.host != platform.node() else ""

    @property
    def host(self) -> str:
        """The host that it was begun on; "" if that is not on record."""
        host = (self.record.surroundings or {}).get("host")
        return host if isinstance(host, str) else ""

    @property
    def begun(self) -> float | None:
        """When its attempt that trains now began, in seconds since the epoch; None if none does, or it is not known."""
        return _time(self.record.started)

    @property
    def next_step(self) -> str:
        """What can be done with it now, as a `fix:` says it."""
        return next_step(self.name, self.record, self.status)

    @property
    def method_name(self) -> str:
        """What its method is called; the default where the record does not say it."""
        return self.record.method or find_method(None).name

    @property
    def method(self) -> Method | None:
        """Its method, None if it is not known here."""
        return recorded_method(self.record.method)

    @property
    def held_out_rows(self) -> int:
        """Rows that its evaluation during training goes through; 0 where there is none, or it is not known."""
        counts = [rows for rows in (self.record.held_out or {}).values() if type(rows) is int and rows > 0]
        limit = self.config.get("max_samples")  # of each dataset
        held_out = sum(min(rows, limit) if type(limit) is int and limit > 0 else rows for rows in counts)
        share = self.config.get("val_size")
        if held_out or not isinstance(share, (int, float)) or not 0 < share < 1e9:
            return held_out
        rows = sum(rows for rows in (self.record.datasets or {}).values() if type(rows) is int)
        return math.ceil(share * rows) if share < 1 else int(share)

    @property
    def policy(self) -> Policy:
        """What the run trained: the whole stack, up to the checkpoint that is meant."""
        base, stack = str(self.record.base), self.record.stack or ()
        if self.checkpoint and stack:
            stack = (*stack[:-1], self.file(self.checkpoint))
        elif self.checkpoint:
            base = self.file(self.checkpoint)
        return Policy(base, stack, self.record.template)

    @property
    def reference(self) -> Policy:
        """What it was compared with."""
        reference = self.record.reference
        assert reference is not None  # `read_run` refuses such a record
        return Policy(reference.base, reference.adapters, self.record.template)

    @property
    def config(self) -> dict[str, Any]:
        """The config that the engine ran with."""
        return self.record.config or {}

    @property
    def launch(self) -> Launch:
        """How its processes are started."""
        return read_launch(self.record.launch)

    @property
    def seconds(self) -> float | None:
        """How long it has trained so far, over all attempts; None where that is not known.

        Where rlguide did not see the end, up to the last event of the engine.
        """
        begun = self.begun
        if begun is None and self.record.seconds is None:
            begun = _time(self.record.created)  # of an earlier version
        if begun is None:
            return self.record.seconds
        times = [event.get("time") for event in recent_events(self.path / EVENTS)]
        told = [moment for moment in times if isinstance(moment, int | float) and abs(moment) < 1e12]
        if self.status != "running" and not told:
            return self.record.seconds
        end = time.time() if self.status == "running" else max(told)
        return (self.record.seconds or 0.0) + max(0.0, end - begun)

    def over(self, status: str, **values: Any) -> None:
        """Write into the record that it does not train any more, as it ended, and how long it did."""
        self.update(status=status, pid=None, seconds=self.seconds, started=None, **values)

    def file(self, name: str) -> str:
        """A file of the run as it is typed from the workspace."""
        return f"{self.name}/{name}"

    def update(self, **values: Any) -> None:
        """Change fields of the record, on disk too."""
        self.record = replace(self.record, **values)
        write_record(self.path, self.record)


def _time(text: str | None) -> float | None:
    """Seconds since the epoch; None for what is no time."""
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def create_run(
    ws: Workspace,
    prepared: Prepared,
    versions: dict[str, str],
    is_plain: bool = False,
    plan: dict[str, Any] | None = None,
) -> Run:
    """Make the run's folder with its record.

    `is_plain`: it trains just as LLaMA-Factory does. `plan`: what it may take (`runs.planned`).

    Raises:
        RlguideError: it cannot be written.
    """
    path = ws.root / prepared.output_dir
    record = new_record(ws, prepared, versions, is_plain, plan)
    write_record(path, record)
    return Run(path, ws.relative(path), record)


def new_record(
    ws: Workspace,
    prepared: Prepared,
    versions: dict[str, str],
    is_plain: bool = False,
    plan: dict[str, Any] | None = None,
) -> RunRecord:
    """The record of a run that begins now, as `create_run` writes it."""
    return RunRecord(
        rlguide=__version__,
        id=uuid.uuid4().hex,
        method=prepared.method.name,
        loss=prepared.config.get("pref_loss"),
        status="prepared",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        base=prepared.policy.base,
        template=prepared.policy.template,
        stack=prepared.policy.adapters,
        reference=RecordedReference(prepared.reference.base, prepared.reference.adapters),
        datasets={item.name: item.rows for item in prepared.datasets},
        held_out={item.name: item.rows for item in prepared.held_out},
        checksums={item.name: checksum(ws, item) for item in (*prepared.datasets, *prepared.held_out)},
        readings={item.name: item.reading for item in (*prepared.datasets, *prepared.held_out)},
        parts=_parts(ws, prepared),
        processes=prepared.schedule.processes,
        total_steps=prepared.schedule.total_steps,
        effective_batch=prepared.schedule.effective_batch,
        plain=is_plain,
        plan=plan,
        engine=versions,
        config=prepared.config,
        surroundings=gather(ws, prepared),
        replays=prepared.replays,
    )


def _parts(ws: Workspace, prepared: Prepared) -> dict[str, str]:
    """The checksums of what lies below the run: of its policy and of the reference, but for itself."""
    policies = (prepared.policy, prepared.reference)
    names = {name for policy in policies for name in (policy.base, *policy.adapters)}
    return digests_of_parts(ws, names - {prepared.output_dir})


def read_run(ws: Workspace, path: Path) -> Run:
    """The run in this folder.

    Raises:
        DataError: its record is damaged or incomplete.
    """
    record = read_record(path)
    if record is None or None in (record.base, record.stack, record.reference, record.config, record.status):
        raise _unreadable(ws, path, record)
    return Run(path, ws.relative(path), _at_home(record, ws.relative(path)))


def _unreadable(ws: Workspace, path: Path, record: RunRecord | None) -> DataError:
    name = ws.relative(path)
    remove = f"remove the run: `rlguide runs remove {shlex.quote(name)}`"
    version = None if record is None else record.rlguide
    if version in (None, __version__):
        return DataError(
            f"{name}/{RUN_FILE} is not the record of a run", f"put it back from a copy of the folder, or {remove}"
        )
    return DataError(
        f"{name}/{RUN_FILE} is of rlguide {printable(str(version))}, and rlguide {__version__} cannot read it",
        f"use it with that version, or {remove}",
    )


def _at_home(record: RunRecord, name: str) -> RunRecord:
    """The record as it is true of the folder that it lies in: a run that was copied, moved or renamed is this one."""
    config, stack = record.config or {}, record.stack or ()
    before = config.get("output_dir") or (stack[-1] if stack else None)
    if before in (None, name):
        return record
    if stack and stack[-1] == before:
        stack = (*stack[:-1], name)
    plots = tuple(f"{name}/{Path(plot).name}" for plot in record.plots or ())
    base = name if record.base == before else record.base  # of a full training
    return replace(record, base=base, stack=stack, plots=plots, config={**config, "output_dir": name})


def find_runs(ws: Workspace) -> list[Run]:
    """All runs under `saves/`, newest first; those with a damaged record are left out."""
    runs = []
    for folder in run_folders(ws.saves):
        try:
            runs.append(read_run(ws, folder))
        except DataError:
            continue
    ask_ahead_of([run.record for run in runs])
    return sorted(runs, key=lambda run: run.record.created or "", reverse=True)


def ask_ahead_of(records: Sequence[RunRecord]) -> None:
    """Ask Slurm once for the jobs of all runs that may still have one."""
    launches = [read_launch(record.launch) for record in records if record.launch and record.status != "finished"]
    jobs = [job_of(launch.handle) for launch in launches if launch.launcher == SLURM]
    if any(jobs):
        ask_ahead(jobs)


def open_run(ws: Workspace, name: str | None = None) -> Run:
    """The run that a person names by its folder; without a name the newest.

    Raises:
        UsageError: there is none.
        DataError: its record is damaged.
    """
    if name is None:
        runs = find_runs(ws)
        if not runs:
            raise UsageError(f"there is no run under {ws.saves}", "train one with `rlguide train --sft-ckpt latest`")
        return runs[0]
    path = locate(ws, name)
    if not (path / RUN_FILE).is_file():
        known = [run.name for run in find_runs(ws)]
        raise UsageError(
            f"{name} is not a run: it has no {RUN_FILE}{did_you_mean(name, known)}",
            f"runs here: {', '.join(known[:5])}" if known else "train one with `rlguide train`",
        )
    return read_run(ws, path)


def _is_other_folder(folder: str, path: Path, name: str) -> bool:
    """Whether a folder exists here, and is not the workspace in which the run at this path has this name."""
    root = path.parents[len(Path(name).parts) - 1]
    try:
        return not Path(folder).samefile(root)
    except (OSError, ValueError):  # of another host, it may be
        return False
