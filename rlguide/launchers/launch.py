"""How the processes of a training are started: on which hosts, how many on each, and by what.

A launcher is a function on the command that trains (`runs.training.drive.train_command`): `started` returns the command
that is run in its place on this host, and ends when all processes of the training have ended. Everything else (metrics,
record, stopping, resuming) is the same for all of them, because all of them see the workspace.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import names_kind
from rlguide.engine.find import Engine
from rlguide.engine.hardware import every_gpu
from rlguide.engine.job import Command
from rlguide.errors import UsageError

LOGS = "logs"  # in the folder of a run: what each of its hosts printed
LOCAL, SSH, SLURM, RAY = "local", "ssh", "slurm", "ray"
# The module that has the `started` of each.
_MODULES = {SSH: "rlguide.launchers.ssh", SLURM: "rlguide.launchers.slurm", RAY: "rlguide.launchers.ray"}


@dataclass(frozen=True)
class Launch:
    """How a training is started, as run.json keeps it (`launch`).

    Attributes:
        launcher: "local", "ssh", "slurm" or "ray".
        gpus: indices of this host's GPUs, such as "0,1"; "" for all that it sees.
        nodes: hosts that train together.
        nproc: processes on each node; None for one on each GPU.
        hosts: of ssh: the nodes, as ssh names them.
        max_restarts: how often it is started again from its last checkpoint after a node failed.
        settings: what else the launcher was told: plain values by name.
        handle: by what the launcher finds it again, such as the id of a Slurm job: plain values by name.
    """

    launcher: str = LOCAL
    gpus: str = ""
    nodes: int = 1
    nproc: int | None = None
    hosts: tuple[str, ...] = ()
    max_restarts: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    handle: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_default(self) -> bool:
        """Whether it is what LLaMA-Factory does on this host by itself."""
        return self == Launch()

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables by which LLaMA-Factory, and rlguide when it counts processes, know of it."""
        found: dict[str, str] = {}
        if self.gpus:  # the driver's order, by which `nvidia-smi -L` counts; CUDA's own begins with the fastest
            found |= {"CUDA_VISIBLE_DEVICES": self.gpus, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        if self.nproc is not None or self.nodes > 1:
            found["FORCE_TORCHRUN"] = "1"
        if self.nodes > 1:  # else a person may have set it, and the other variables of torchrun
            found["NNODES"] = str(self.nodes)
        if self.nproc is not None:
            found["NPROC_PER_NODE"] = str(self.nproc)
        return found

    @property
    def options(self) -> list[str]:
        """What is typed for it on this host; nothing for another launcher."""
        if self.launcher != LOCAL:
            return []
        nproc = [] if self.nproc is None else ["--nproc", str(self.nproc)]
        return [*(["--gpus", self.gpus] if self.gpus else []), *nproc]

    def as_dict(self) -> dict[str, Any]:
        """For run.json: what differs from the default."""
        plain = asdict(Launch())
        return {key: value for key, value in asdict(self).items() if key == "launcher" or value != plain[key]}


@dataclass(frozen=True)
class Needs:
    """What a training reads: every host that takes part must have the same.

    Attributes:
        folder: of the run.
        config: what is trained, as text.
        data: the files of its datasets, held-out ones too, and others that the config names.
        models: the folders of the models and adapters below it.
        hub: models that are fetched from the hub, by id, at `revision`.
        on_cpu: whether the config says that no GPU is used.
    """

    engine: Engine
    folder: Path
    config: str
    data: tuple[Path, ...] = ()
    models: tuple[Path, ...] = ()
    hub: tuple[str, ...] = ()
    revision: str = "main"
    on_cpu: bool = False


def read_launch(value: Any) -> Launch:
    """What run.json says; a value of a wrong type counts as not said, and an unknown launcher as this host."""
    said = value if isinstance(value, dict) else {}
    found: dict[str, Any] = {}
    for item in fields(Launch):
        given = said.get(item.name)
        if given is not None and (read := _READERS[item.name](given)) is not None:
            found[item.name] = read
    return Launch(**found)


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 10**6 else None


def _texts(value: Any) -> tuple[str, ...] | None:
    is_list = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    return tuple(value) if is_list else None


_READERS: dict[str, Callable[[Any], Any]] = {
    "launcher": lambda value: value if value in (LOCAL, *_MODULES) else None,
    "gpus": lambda value: value if isinstance(value, str) else None,
    "nodes": _count,
    "nproc": _count,
    "hosts": _texts,
    "max_restarts": _count,
    "settings": lambda value: value if isinstance(value, dict) else None,
    "handle": lambda value: value if isinstance(value, dict) else None,
}


@contextmanager
def in_effect(launch: Launch) -> Iterator[None]:
    """In the block, the environment of this process and of all that it starts says how the training is launched."""
    before = {name: os.environ.get(name) for name in launch.variables}
    os.environ.update(launch.variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def started(launch: Launch, command: Command, folder: Path) -> Command:
    """The command to run on this host so that the training `command` runs as it is to be launched.

    Args:
        command: what one node would run; with several nodes, what each runs, its rank by environment variables.
        folder: of the run; all nodes see it under the same path.

    Raises:
        RlguideError: it cannot be launched.
    """
    if launch.launcher == LOCAL:
        return command
    module = import_module(_MODULES[launch.launcher])
    found: Command = module.started(launch, command, folder)
    return found


def check_here(launch: Launch, engine: Engine) -> None:
    """Refuse what can be known before anything is prepared: what the launcher needs is not here, or does not answer.

    Raises:
        RlguideError: it cannot launch from here.
    """
    if launch.launcher == RAY:
        import_module(_MODULES[RAY]).check(launch, engine)


def check_hosts(launch: Launch, needs: Needs) -> None:
    """Refuse hosts that cannot be reached, or have other things than this one; nothing is started.

    Raises:
        RlguideError: naming the host and what differs.
    """
    if launch.launcher == SSH:
        import_module(f"{_MODULES[SSH]}.check").check(launch, needs)


def wait_for_hosts(launch: Launch, needs: Needs, tell: Callable[[str], None]) -> None:
    """Wait until all hosts of a training answer and agree, for as long as the launch says (`restart_wait`, seconds).

    Raises:
        RlguideError: as `check_hosts`, of one that still does not.
    """
    if launch.launcher == SSH:
        import_module(f"{_MODULES[SSH]}.check").wait_until_back(launch, needs, tell)


def with_gpus(launch: Launch, text: str | None) -> Launch:
    """The same on GPUs of these indices. Raises UsageError for what is no list of indices."""
    if text is None:
        return launch
    names = [name.strip() for name in text.split(",")]
    if names_kind(text):
        raise UsageError(
            f"--gpus {text} names a kind of GPU, and training needs the indices of those of this host",
            f"name them, e.g. --gpus 0,1; to plan for such GPUs: `rlguide plan --gpus {shlex.quote(text)}`",
        )
    if not all(name.isascii() and name.isdigit() for name in names) or len(set(names)) < len(names):
        raise UsageError(
            f"--gpus {text} is not a list of GPU indices", "name each once, e.g. --gpus 0,1; `nvidia-smi -L` lists them"
        )
    return replace(launch, gpus=",".join(names))


def check_gpus(launch: Launch, environment: Mapping[str, str]) -> None:
    """Refuse GPUs that this host does not have, or that the environment keeps from this process.

    Args:
        environment: as it is without this launch.

    Raises:
        UsageError: naming those that there are.
    """
    if not launch.gpus or launch.launcher != LOCAL:
        return
    found = [str(gpu.index) for gpu in every_gpu()]
    if not found:
        raise UsageError(
            f"--gpus {launch.gpus}: no GPU is seen on this host", "`rlguide doctor` says why; on CPUs give --nproc N"
        )
    allowed = environment.get("CUDA_VISIBLE_DEVICES")
    asked = launch.gpus.split(",")
    if missing := [name for name in asked if name not in found]:
        raise UsageError(
            f"--gpus {launch.gpus}: there is no GPU {', '.join(missing)} on this host",
            f"choose of {','.join(found)}; `nvidia-smi -L` lists them",
        )
    visible = [name.strip() for name in (allowed or "").split(",")]
    if allowed is not None and (hidden := [name for name in asked if name not in visible]):
        raise UsageError(
            f"--gpus {launch.gpus}: CUDA_VISIBLE_DEVICES={allowed} hides GPU {', '.join(hidden)}",
            "choose of these, or unset CUDA_VISIBLE_DEVICES, which a scheduler may have set for you alone",
        )
