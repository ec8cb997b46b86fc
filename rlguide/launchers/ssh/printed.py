"""The commands that train on several nodes, to paste into a shell: what `nodes` does, but for watching."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from rlguide.engine.job import Command
from rlguide.launchers.launch import Launch
from rlguide.launchers.ssh.asked import PRINT
from rlguide.launchers.ssh.client import address_of, config_of, ssh_command
from rlguide.launchers.ssh.hosts import parse_host
from rlguide.policy.run_record import RUN_CONFIG

_PORT = 29400  # torchrun's default for a rendezvous; rlguide itself asks the first node for a free one


def commands(launch: Launch, command: Command, folder: Path) -> Iterator[str]:
    """Lines for a shell, everything quoted: make the config, then train it on each node."""
    rendered = ["rlguide", *(str(word) for word in launch.settings[PRINT])]
    config = config_of(launch)
    hosts = [parse_host(text) for text in launch.hosts]
    address = address_of(hosts[0], config)
    config_file = shlex.quote(os.fspath(folder / RUN_CONFIG))
    variables = [f"{name}={value}" for name, value in launch.variables.items()]
    yield shlex.join(["mkdir", "-p", os.fspath(folder)])
    yield f"{shlex.join(['env', *variables, *rendered])} > {config_file}"
    met = [f"RDZV_ID={uuid4().hex}", f"MASTER_ADDR={address}", f"MASTER_PORT={_PORT}"]
    for host in hosts:
        own = [*variables, *met, f"RLGUIDE_NODE_ADDRESS={address_of(host, config)}"]
        words = ["env", "-C", os.fspath(command.cwd), *own, *command.arguments]
        yield f"{shlex.join(ssh_command(host, config, words))} &"
    yield "wait"
