"""Two hosts on one machine: network namespaces with addresses of their own, an sshd in each, and a third to work from.

Nothing of the machine's own network or configuration of ssh is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

PORT = 2022
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_NEEDED = ("ip", "ss", "ssh", "ssh-keygen", "sshd")
_SSHD = """ListenAddress {address}
Port {port}
HostKey "{folder}/key"
AuthorizedKeysFile "{home}/authorized"
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
PidFile none
"""
_SSH = """Host one
  HostName {one}
Host two
  HostName {two}
Host *
  Port {port}
  User root
  IdentityFile "{home}/id"
  IdentitiesOnly yes
  UserKnownHostsFile "{home}/known"
  GlobalKnownHostsFile /dev/null
"""


def _program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


def _ip(*words: str) -> str:
    done = subprocess.run([_program("ip") or "ip", *words], capture_output=True, text=True, check=True)
    return done.stdout


class TwoHosts:
    """`names` as ssh's config (`config`) has them; each has an address of `addresses`."""

    names = ("one", "two")

    def __init__(self, home: Path) -> None:
        self.home, self.config = home, home / "ssh config"
        self.addresses = {name: f"10.203.0.{index}" for index, name in enumerate(self.names, 1)}
        self._spaces = {name: f"rl{os.getpid()}{name}" for name in (*self.names, "hub")}

    def make(self) -> None:
        """Namespaces, keys, config, and an sshd in each."""
        hub = self._spaces["hub"]
        for space in self._spaces.values():
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", hub, "link", "add", "switch", "type", "bridge")
        _ip("-n", hub, "link", "set", "switch", "up")
        _ip("-n", hub, "addr", "add", "10.203.0.254/24", "dev", "switch")
        self._key("id")
        shutil.copy(self.home / "id.pub", self.home / "authorized")
        known = []
        for name, address in self.addresses.items():
            space, folder = self._spaces[name], self.home / name
            folder.mkdir()
            _ip("link", "add", "eth0", "netns", space, "type", "veth", "peer", "name", name, "netns", hub)
            _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", hub, "link", "set", name, "master", "switch", "up")
            public = self._key(f"{name}/key").split()[:2]
            known.append(f"[{address}]:{PORT} {' '.join(public)}\n")
            words = {"address": address, "port": PORT, "folder": folder, "home": self.home}
            (folder / "sshd_config").write_text(_SSHD.format(**words))
            self.start(name)
        (self.home / "known").write_text("".join(known))
        self.config.write_text(_SSH.format(port=PORT, home=self.home, **self.addresses))

    def _key(self, name: str) -> str:
        path = self.home / name
        command = [_program("ssh-keygen") or "", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True)
        return path.with_name(path.name + ".pub").read_text()

    def inside(self, name: str, *words: str) -> list[str]:
        """The command that runs words on a host, or on the "hub" between them."""
        return [_program("ip") or "ip", "netns", "exec", self._spaces[name], *words]

    def start(self, name: str) -> None:
        """Start its sshd."""
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd wants it, empty
        sshd = [
            _program("sshd") or "",
            "-f",
            str(self.home / name / "sshd_config"),
            "-E",
            str(self.home / name / "log"),
        ]
        subprocess.run(self.inside(name, *sshd), check=True)

    def lose(self, name: str) -> None:
        """Its network is gone, then all that it runs."""
        _ip("-n", self._spaces["hub"], "link", "set", name, "down")
        self.end_all(name)

    def bring_back(self, name: str) -> None:
        """As after a restart."""
        _ip("-n", self._spaces["hub"], "link", "set", name, "up")
        self.start(name)

    def processes(self, name: str) -> list[int]:
        """What runs there."""
        return [int(pid) for pid in _ip("netns", "pids", self._spaces[name]).split()]

    def listening(self, name: str) -> set[str]:
        """The addresses, with ports, on which something listens there."""
        done = subprocess.run(self.inside(name, "ss", "-ltnH"), capture_output=True, text=True, check=True)
        return {line.split()[3] for line in done.stdout.splitlines()}

    def end_all(self, name: str) -> None:
        """Kill all that runs there."""
        while pids := self.processes(name):
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    def close(self) -> None:
        """Remove everything."""
        for name, space in self._spaces.items():
            with suppress(subprocess.CalledProcessError):
                self.end_all(name)
                _ip("netns", "del", space)


@contextmanager
def two_hosts(home: Path) -> Iterator[TwoHosts]:
    """Two hosts, as long as the block lasts; the test is skipped where they cannot be made."""
    lacking = [name for name in _NEEDED if _program(name) is None]
    if lacking or os.geteuid() != 0:
        pytest.skip(f"two hosts need {', '.join(lacking) or 'root'}")
    hosts = TwoHosts(home)
    try:
        try:
            hosts.make()
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr or error}")
        yield hosts
    finally:
        hosts.close()
