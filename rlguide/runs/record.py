"""The record of a run: `run.json` in its output directory says what was trained on what, against which reference."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.engine.process import is_alive
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.policy.checkpoint import locate
from rlguide.policy.policy import Policy
from rlguide.recipes.prepare import Prepared
from rlguide.workspace import Workspace, read_json, write_json

MANIFEST = "run.json"
CONFIG = "config.yaml"
LOG = "engine.log"
METRICS = "metrics.jsonl"


@dataclass
class Run:
    """One training run: its directory (LLaMA-Factory's output_dir) and what its manifest says."""

    path: Path
    values: dict[str, Any] = field(repr=False)

    @property
    def status(self) -> str:
        """ "running", "finished", "failed" or "interrupted"; a run whose process is gone was interrupted."""
        status = str(self.values.get("status"))
        return "interrupted" if status == "running" and not is_alive(self.values.get("pid")) else status

    @property
    def policy(self) -> Policy:
        """What the run trained: the whole stack."""
        return Policy(self.values["base"], tuple(self.values["stack"]), self.values.get("template"))

    @property
    def reference(self) -> Policy:
        """What it was compared with."""
        reference = self.values["reference"]
        return Policy(reference["base"], tuple(reference["adapters"]), self.values.get("template"))

    @property
    def config(self) -> dict[str, Any]:
        """The config that the engine ran with."""
        config: dict[str, Any] = self.values["config"]
        return config

    def update(self, **values: Any) -> None:
        """Change fields of the manifest on disk."""
        self.values.update(values)
        write_json(self.path / MANIFEST, self.values)


def create_run(ws: Workspace, prepared: Prepared, versions: dict[str, str]) -> Run:
    """Make the run directory with its config and manifest. Raises RlguideError if it cannot be written."""
    path = ws.root / prepared.output_dir
    run = Run(path, {})
    values = {
        "rlguide": __version__,
        "method": prepared.method.name,
        "loss": prepared.config.get("pref_loss"),
        "status": "prepared",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": prepared.policy.base,
        "template": prepared.policy.template,
        "stack": list(prepared.policy.adapters),
        "reference": {"base": prepared.reference.base, "adapters": list(prepared.reference.adapters)},
        "datasets": {item.name: item.rows for item in prepared.datasets},
        "held_out": {item.name: item.rows for item in prepared.held_out},
        "total_steps": prepared.schedule.total_steps,
        "effective_batch": prepared.schedule.effective_batch,
        "engine": versions,
        "config": prepared.config,
    }
    path.mkdir(parents=True, exist_ok=True)
    run.update(**values)
    return run


def read_run(path: Path) -> Run:
    """The run in this directory.

    Raises:
        DataError: its manifest is damaged or incomplete.
    """
    values = read_json(path / MANIFEST)
    needed = ("base", "stack", "reference", "config", "status")
    if not isinstance(values, dict) or any(key not in values for key in needed):
        raise DataError(f"{path / MANIFEST} is not a manifest of a run", "train again into another --output-dir")
    return Run(path, values)


def find_runs(ws: Workspace) -> list[Run]:
    """All runs under `saves/`, newest first; damaged manifests are left out."""
    runs = []
    for folder, names, files in os.walk(ws.saves):
        names[:] = [name for name in names if not name.startswith((".", "checkpoint-"))]
        if MANIFEST in files:
            try:
                runs.append(read_run(Path(folder)))
            except DataError:
                continue
    return sorted(runs, key=lambda run: str(run.values.get("created", "")), reverse=True)


def open_run(ws: Workspace, name: str | None = None, finished: bool = False) -> Run:
    """The run that a person names by its directory; without a name the newest.

    Args:
        finished: only a run that came to its end counts.

    Raises:
        UsageError: there is none, or it is not finished.
        DataError: its manifest is damaged.
    """
    if name is not None:
        path = locate(ws, name)
        if not (path / MANIFEST).is_file():
            known = [ws.relative(run.path) for run in find_runs(ws)]
            raise UsageError(
                f"{name} is not a run: it has no {MANIFEST}{did_you_mean(name, known)}",
                f"runs here: {', '.join(known[:5])}" if known else "train one with `rlguide train`",
            )
        run = read_run(path)
    else:
        runs = find_runs(ws)
        if not runs:
            raise UsageError(f"there is no run under {ws.saves}", "train one with `rlguide train --sft-ckpt latest`")
        run = next((run for run in runs if run.status == "finished"), runs[0]) if finished else runs[0]
    if finished and run.status != "finished":
        raise UsageError(
            f"the run {ws.relative(run.path)} is {run.status}",
            f"go on with it: `rlguide train --resume {ws.relative(run.path)}`",
        )
    return run
