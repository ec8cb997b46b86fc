"""A training on a Ray cluster: on one that runs, or on one on this host that begins and ends with the training.

What is started is `rlguide_worker/ray_train.py`, which has the workers run what torchrun's processes would. All that is
said to it are an address and the number of workers.
"""

from __future__ import annotations

import re
import shlex
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import Command
from rlguide.errors import EngineError, UsageError
from rlguide.launchers.launch import RAY, Launch

LOCAL = "local"
INSTALL = "ray[client]>=2.40"  # pyproject.toml says the same
_ADDRESS = re.compile(r"auto|(?P<client>ray://)?(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{1,5})")
_SECONDS = 5.0  # that the address may take to accept a connection


def on_ray(launch: Launch, address: str | None) -> Launch:
    """The same on the Ray cluster at `address`, or on one on this host that is started for it.

    Raises:
        UsageError: what is no address, or how many workers there shall be is not said.
    """
    if address is None:
        here = len(launch.gpus.split(",")) if launch.gpus else max(1, len(list_gpus()))
        return replace(launch, launcher=RAY, nproc=launch.nproc or here, settings={})
    if not _ADDRESS.fullmatch(address):
        shown = address if "@" not in address else "***" + address[address.rindex("@") :]
        raise UsageError(
            f"--ray-address {shown} is not the address of a Ray cluster",
            "write --ray-address auto, HOST:PORT or ray://HOST:PORT; a token belongs into RAY_AUTH_TOKEN",
        )
    if launch.gpus:
        raise UsageError("--gpus names GPUs of this host, and a Ray cluster gives its own", "say --nproc instead")
    if launch.nproc is None:
        raise UsageError(
            "a Ray cluster has to be told how many workers are to train, each on one GPU", "add e.g. --nproc 2"
        )
    return replace(launch, launcher=RAY, settings={"address": address})


def address_of(launch: Launch) -> str:
    """Where its cluster is: "local" for one that is started; what a record says that is no address counts as that."""
    said = launch.settings.get("address")
    return said if isinstance(said, str) and _ADDRESS.fullmatch(said) else LOCAL


def check(launch: Launch, engine: Engine) -> None:
    """Refuse before anything starts what would only fail later: no Ray, no cluster there, too few GPUs here.

    Raises:
        EngineError, UsageError: so it is.
    """
    if "ray" not in engine.versions:
        pip = shlex.join([str(engine.python), "-m", "pip", "install", INSTALL])
        raise EngineError(f"--launcher ray needs Ray in the engine's environment, {engine.python.parent.parent}", pip)
    workers, address = launch.nproc or 1, address_of(launch)
    if address == LOCAL:
        gpus = list_gpus()
        if gpus and len(gpus) < workers:
            raise UsageError(
                f"{workers} workers need a GPU each, and {len(gpus)} can be seen here", f"say --nproc {len(gpus)}"
            )
    elif address != "auto":
        _reach(address)


def _reach(address: str) -> None:
    found = _ADDRESS.fullmatch(address)
    assert found is not None
    try:
        socket.create_connection((found["host"].strip("[]"), int(found["port"])), _SECONDS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise UsageError(
            f"no Ray cluster can be reached at {address}: {error}",
            f"`ray status` on its head node says its address; or start one here: leave --ray-address {address} out",
        ) from None


def started(launch: Launch, command: Command, folder: Path) -> Command:
    """The driver of a Ray job that runs a training's worker script in so many workers."""
    python, script, *arguments = command.arguments
    driver = str(Path(script).with_name("ray_train.py"))
    words = (python, driver, address_of(launch), str(launch.nproc or 1), script, *arguments)
    variables: Mapping[str, str] = {**command.variables, "USE_RAY": "0"}  # with it the engine starts workers of its own
    return replace(command, arguments=words, variables=variables)
