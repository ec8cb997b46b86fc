"""A run on several hosts: what they must share, on which it is resumed, and how it goes on when one was lost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.console import say
from rlguide.data.store.registered import local_files
from rlguide.engine.config_file import split_names
from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.launchers.launch import Launch, Needs, wait_for_hosts
from rlguide.policy.checkpoint import locate
from rlguide.policy.run_state import resume_command
from rlguide.recipes.data import data_of_config
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

_MODELS = (
    *("model_name_or_path", "adapter_name_or_path", "ref_model", "ref_model_adapters"),
    *("reward_model", "reward_model_adapters"),
)
_FILES = ("deepspeed",)  # keys that name a file


def needs_of(ws: Workspace, engine: Engine, folder: Path, method: Method, config: Mapping[str, Any]) -> Needs:
    """What the training of a config in a run's folder reads."""
    data = data_of_config(ws, method, config)
    files = [file for item in (*data.train, *data.held_out) if item.path is not None for file in local_files(item)]
    files += [ws.root / str(config[key]) for key in _FILES if isinstance(config.get(key), str)]
    names = {name for key in _MODELS if config.get(key) for name in split_names(config[key])}
    folders = {name: locate(ws, name) for name in sorted(names)}
    return Needs(
        engine,
        folder,
        json.dumps(config, ensure_ascii=False, default=str),
        data=tuple(files),
        models=tuple(path for path in folders.values() if path.is_dir()),
        hub=tuple(name for name, path in folders.items() if not path.is_dir()),
        revision=str(config.get("model_revision") or "main"),
    )


def relaunched(run: Run, launch: Launch) -> Launch:
    """How a run is launched when it is resumed: as its record says, or as was asked for anew.

    Raises:
        UsageError: with another number of processes than it began with.
    """
    if not launch.hosts:
        return run.launch
    wanted = run.record.processes
    given = launch.nodes * (launch.nproc or 1)
    if wanted is not None and wanted != given:
        raise UsageError(
            f"{run.name} began on {wanted} processes, and {launch.nodes} x {launch.nproc or 1} are {given}",
            f"give as many in all; or resume it where it ran: `{resume_command(run.name)}`",
        )
    return launch


def ready_again(run: Run, needs: Needs, left: int) -> None:
    """Wait until all hosts of a run are there again; `left`: how often it may be restarted after this time.

    Raises:
        RlguideError: one of them did not come back.
    """
    what = (run.record.failure or {}).get("what", "a node failed")
    say(f"{what}; restarting from the last checkpoint when all nodes answer (then {left} more times at most)")
    wait_for_hosts(run.launch, needs, say)
