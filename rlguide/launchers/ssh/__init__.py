"""Several nodes over ssh: each runs torchrun, and they meet at an address of the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rlguide.engine.job import Command
from rlguide.engine.process import own_python
from rlguide.errors import UsageError
from rlguide.launchers.launch import Launch
from rlguide.launchers.ssh.client import config_of
from rlguide.launchers.ssh.hosts import parse_host
from rlguide.policy.run_record import RUN_CONFIG

OWN_END = 5.0  # seconds for the other nodes to end by themselves when one has failed, with their own messages
_PACKAGE = Path(__file__).resolve().parents[3]


def started(launch: Launch, command: Command, folder: Path) -> Command:
    """The command that runs the training on all nodes and ends when they have; see `nodes`.

    Raises:
        UsageError: the record of the run names something that is no host.
    """
    if not launch.hosts:
        raise UsageError(
            "the run was launched over ssh, and its record names no hosts",
            "name them: `rlguide launch --nodes gpu1,gpu2 -- train --resume`",
        )
    hosts = [part for text in launch.hosts for part in ("--host", str(parse_host(text)))]
    variables = [part for name in command.variables for part in ("--variable", name)]
    config = config_of(launch)
    words = [
        *own_python("rlguide.launchers.ssh.nodes"),
        *hosts,
        *variables,
        *(("--ssh-config", config) if config else ()),
        *("--own-end", str(OWN_END)),
        *("--cwd", str(command.cwd), "--folder", str(folder), "--config", str(folder / RUN_CONFIG)),
        *("--events", str(command.events), "--", *command.arguments),
    ]
    return replace(command, arguments=tuple(words), variables={**command.variables, "PYTHONPATH": str(_PACKAGE)})
