"""The command lines of ssh: never a password prompt, and soon an error where nobody answers."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Sequence

from rlguide.errors import RlguideError
from rlguide.launchers.launch import Launch
from rlguide.launchers.ssh.hosts import Host

# Whether an unknown host is trusted stays what the user's config says (StrictHostKeyChecking). A lost connection is
# noticed after 3 times 5 seconds. Nothing of this terminal or agent is given to the node. A connection that is shared
# already (ControlPath) is used, where a login takes a code; none of these becomes the one that others share.
_OPTIONS = {
    "BatchMode": "yes",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "ClearAllForwardings": "yes",
    "ControlMaster": "no",
    "LogLevel": "ERROR",
}
# What ssh says, and what helps.
_OF_SSH = (
    ("Host key verification failed", "look at its key once, which notes it in known_hosts: ssh {at}"),
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", "if that is right, forget its old key: ssh-keygen -R {name}"),
    (
        "Permission denied",
        "let ssh in by key, without a password (ssh-add, if yours has a passphrase): ssh-copy-id {at}",
    ),
    ("Could not resolve hostname", "name it as ssh knows it, or by its address"),
    ("cannot start ssh", "install OpenSSH's client here (Debian and Ubuntu: apt install openssh-client)"),
)
CONFIG = "ssh_config"  # the setting of a launch that names a config file of ssh
LOST = 255  # the exit code of ssh itself


def config_of(launch: Launch) -> str:
    """The config file of ssh that a launch names; "" for ssh's own."""
    found = launch.settings.get(CONFIG)
    return found if isinstance(found, str) else ""


def ssh_command(host: Host, config: str, words: Sequence[str]) -> list[str]:
    """The argument list that runs these words on a node; the node's shell sees each quoted."""
    options = [part for name, value in _OPTIONS.items() for part in ("-o", f"{name}={value}")]
    return [*_ssh(host, config), "-T", *options, "--", host.target, f"exec {shlex.join(words)}"]


def address_of(host: Host, config: str) -> str:
    """The address that ssh would connect to, by its config; the name of the host if ssh does not say it."""
    try:
        done = subprocess.run(
            [*_ssh(host, config), "-G", "--", host.target], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return host.name
    words = [line.split(None, 1) for line in done.stdout.splitlines()]
    return next((word[1] for word in words if len(word) == 2 and word[0] == "hostname"), host.name)


def words_for(host: Host, config: str) -> str:
    """What stands behind `ssh` or `ssh-copy-id` in a command to paste."""
    return shlex.join([*_ssh(host, config)[1:], host.target])


def unreached(host: Host, config: str, said: str) -> RlguideError:
    """What to do about a node of which ssh itself says this."""
    at = words_for(host, config)
    name = shlex.quote(f"[{host.name}]:{host.port}" if host.port is not None else host.name)
    fixes = (fix.format(at=at, name=name) for words, fix in _OF_SSH if words in said)
    fix = next(fixes, f"see what this says: ssh {at} true")
    return RlguideError(f"{host} cannot be reached over ssh: {said}", fix)


def _ssh(host: Host, config: str) -> list[str]:
    named = ["-F", config] if config else []
    port = ["-p", str(host.port)] if host.port is not None else []
    return ["ssh", *named, *port]
