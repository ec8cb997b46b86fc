"""Which configs and runs name a dataset: before it is renamed or removed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlguide.engine.config_file import load_config, split_names
from rlguide.engine.running import how_to_watch
from rlguide.errors import RlguideError, UsageError
from rlguide.policy.run_state import can_be_resumed
from rlguide.recipes.data import data_home
from rlguide.runs.record import Run, find_runs
from rlguide.workspace import Workspace

OVER = ("finished", "failed", "interrupted")


@dataclass(frozen=True)
class DatasetUsers:
    """Configs (as typed from the workspace) and runs, newest first, that name a dataset."""

    configs: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @property
    def named(self) -> list[str]:
        """All of them, as typed from the workspace."""
        return [*self.configs, *(run.name for run in self.runs)]


def dataset_users(ws: Workspace, names: Collection[str]) -> DatasetUsers:
    """Who names one of these datasets of this workspace. A config or record that cannot be read names none."""
    configs = []
    for path in sorted([*ws.configs.glob("*.yaml"), *ws.configs.glob("*.yml")]):
        try:
            config = load_config(path)
        except RlguideError:
            continue
        if _names(ws, config, names):
            configs.append(ws.relative(path))
    return DatasetUsers(configs, [run for run in find_runs(ws) if _names(ws, run.config, names)])


def check_not_training(ws: Workspace, names: Collection[str]) -> DatasetUsers:
    """Who names these datasets. Raises UsageError if one of them is training now."""
    users = dataset_users(ws, names)
    for run in users.runs:
        if run.status not in OVER:
            raise UsageError(f"{run.name} is training on it", f"wait for its end; {how_to_watch(run.name)}")
    return users


def check_not_needed(ws: Workspace, names: Collection[str]) -> DatasetUsers:
    """Who names these datasets. Raises UsageError if one of them is training now, or needs one of them to resume."""
    users = check_not_training(ws, names)
    for run in users.runs:
        if can_be_resumed(run.status):
            raise UsageError(
                f"{run.name} is {run.status} and cannot be resumed without it",
                f"{run.next_step}, or remove that run first: `rlguide runs remove {shlex.quote(run.name)}`",
            )
    return users


def _names(ws: Workspace, config: Mapping[str, Any], names: Collection[str]) -> bool:
    used = {*split_names(config.get("dataset")), *split_names(config.get("eval_dataset"))}
    return bool(used & set(names)) and data_home(ws, config).data.resolve() == ws.data.resolve()
