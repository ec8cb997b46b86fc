"""What `rlguide launch` is asked for, as a `Launch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.errors import RlguideError, UsageError
from rlguide.launchers.launch import SSH, Launch
from rlguide.launchers.ssh.asking import ask_all
from rlguide.launchers.ssh.check import WAIT
from rlguide.launchers.ssh.client import CONFIG, LOST, ssh_command, unreached
from rlguide.launchers.ssh.hosts import Host, Hostfile, parse_hosts, read_hostfile

PRINT = "print"  # the setting of a launch that is only shown: the words of the training
_LIMIT = 60.0  # seconds for nvidia-smi on a node
_LIST_GPUS = ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")


@dataclass(frozen=True)
class Asked:
    """The options of `rlguide launch`; `shown`: the words of the training, if its commands are only to be shown."""

    nodes: str | None = None
    hostfile: Path | None = None
    nproc: int | None = None
    max_restarts: int = 0
    restart_wait: float = 600.0
    ssh_config: Path | None = None
    shown: tuple[str, ...] = ()


def launch_for(asked: Asked) -> Launch:
    """The launch. Nodes are asked for their GPUs where nothing says how many processes each gets.

    Raises:
        UsageError: there are no nodes, or both options name them; a file or a host is malformed.
        RlguideError: a node cannot be asked, or the nodes have different numbers of GPUs.
    """
    found = _hosts(asked)
    config = _config(asked.ssh_config)
    if not (nproc := asked.nproc or found.slots):
        if asked.shown:
            raise UsageError("--print asks no node for its GPUs", "give --nproc N, or slots=N in the hostfile")
        nproc = _gpus_of_each(found.hosts, config)
    settings = {CONFIG: config} if config else {}
    return Launch(
        SSH,
        nodes=len(found.hosts),
        nproc=nproc,
        hosts=tuple(str(host) for host in found.hosts),
        max_restarts=asked.max_restarts,
        settings={**settings, WAIT: asked.restart_wait, **({PRINT: asked.shown} if asked.shown else {})},
    )


def _hosts(asked: Asked) -> Hostfile:
    if (asked.nodes is None) == (asked.hostfile is None):
        raise UsageError("--nodes or --hostfile says where to train", "give one of them, e.g. --nodes gpu1,gpu2")
    return Hostfile(parse_hosts(asked.nodes)) if asked.nodes is not None else read_hostfile(Path(asked.hostfile or ""))


def _config(path: Path | None) -> str:
    if path is None:
        return ""
    if not path.is_file():
        raise UsageError(f"the config of ssh {path} is no file", "name one, or leave --ssh-config out")
    return str(path.absolute())


def _gpus_of_each(hosts: Sequence[Host], config: str) -> int:
    """How many GPUs each node has, by its driver."""
    answers = ask_all([ssh_command(host, config, _LIST_GPUS) for host in hosts], b"", _LIMIT)
    counts: dict[Host, int] = {}
    for host, answer in zip(hosts, answers, strict=True):
        if answer.code == LOST:
            raise unreached(host, config, answer.said)
        counts[host] = len(answer.out.splitlines()) if answer.code == 0 else 0
    least = min(hosts, key=counts.__getitem__)
    most = max(hosts, key=counts.__getitem__)
    if counts[least] == 0:
        raise RlguideError(f"{least} has no GPU that nvidia-smi lists", "say how many processes it gets: --nproc N")
    if counts[least] < counts[most]:
        raise RlguideError(
            f"{least} has {counts[least]} GPUs, and {most} has {counts[most]}",
            f"give each as many processes: --nproc {counts[least]}",
        )
    return counts[least]
