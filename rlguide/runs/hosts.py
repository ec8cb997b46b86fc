"""A run on several hosts: what they must share, on which it is resumed, and how it goes on when one was lost."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.console import printable, say
from rlguide.data.store.registered import local_files
from rlguide.engine.config_file import split_names
from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.launchers.launch import RAY, Launch, Needs, wait_for_hosts
from rlguide.launchers.ray import LOCAL, address_of
from rlguide.launchers.ssh.client import CONFIG
from rlguide.policy.checkpoint import locate
from rlguide.policy.run_state import resume_command
from rlguide.recipes.data import data_of_config
from rlguide.remembered import Memory
from rlguide.runs.record import Run
from rlguide.runs.resumable import resumed_launch
from rlguide.workspace import Workspace

_MODELS = (
    *("model_name_or_path", "adapter_name_or_path", "ref_model", "ref_model_adapters"),
    *("reward_model", "reward_model_adapters"),
)
_LAUNCHED: tuple[str, dict[str, str]] = ("launches", {})  # where it is kept what was launched on which hosts
_FILES = ("deepspeed", "fsdp_config")  # keys that may name a file


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
        on_cpu=config.get("use_cpu") is True,
    )


def relaunched(run: Run, launch: Launch) -> Launch:
    """How a run is launched when it is resumed: as its record says, on other GPUs of this host, or where one says.

    The record may be somebody else's, and hosts get this user's keys, a Ray cluster this user's data. So those of a
    record are taken only where this user has launched that run on them.

    Raises:
        UsageError: with another number of processes than it began with; or the record's hosts were never named here.
    """
    if not launch.hosts and launch.launcher != RAY:
        where = _elsewhere(run.launch)
        if where and not _is_own(run):
            raise UsageError(
                f"{run.name} says that it trains on {printable(', '.join(where))[:200]}, and you have not launched it"
                " there",
                f"if that is yours, name it: `{_launch_command(run)}`",
            )
        return resumed_launch(run, launch)
    wanted = run.record.processes
    given = launch.nodes * (launch.nproc or 1)
    if wanted is not None and wanted != given:
        raise UsageError(
            f"{run.name} began on {wanted} processes, and {launch.nodes} x {launch.nproc or 1} are {given}",
            f"give as many in all; or resume it where it ran: `{resume_command(run.name)}`",
        )
    return launch


def keep_hosts(run: Run) -> None:
    """Keep that this user has launched this run on these hosts, or this Ray cluster."""
    if _elsewhere(run.launch):
        with Memory(*_LAUNCHED) as memory:
            memory.add(_key(run), True)


def _elsewhere(launch: Launch) -> tuple[str, ...]:
    """What a launch names beyond this host: the nodes of ssh, the address of a Ray cluster that runs."""
    if launch.launcher == RAY:
        return () if address_of(launch) == LOCAL else (address_of(launch),)
    return launch.hosts


def _is_own(run: Run) -> bool:
    with Memory(*_LAUNCHED) as memory:
        return _key(run) in memory


def _key(run: Run) -> str:
    return Memory.key([run.record.id, *_elsewhere(run.launch), run.launch.settings.get(CONFIG)])


def _launch_command(run: Run) -> str:
    """What resumes it where its record says; a config of ssh is for the user to name."""
    resumed, nproc = ["train", "--resume", run.name], ["--nproc", str(run.launch.nproc or 1)]
    if run.launch.launcher == RAY:
        return shlex.join(["rlguide", *resumed, "--ray-address", address_of(run.launch), *nproc])
    return shlex.join(["rlguide", "launch", "--nodes", ",".join(run.launch.hosts), *nproc, "--", *resumed])


def ready_again(run: Run, needs: Needs, left: int) -> None:
    """Wait until all hosts of a run are there again; `left`: how often it may be restarted after this time.

    Raises:
        RlguideError: one of them did not come back.
    """
    what = (run.record.failure or {}).get("what", "a node failed")
    say(f"{what}; restarting from the last checkpoint when all nodes answer (then {left} more times at most)")
    wait_for_hosts(run.launch, needs, say)
