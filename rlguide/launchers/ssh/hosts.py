"""The nodes of a training, as they are typed or stand in a hostfile."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlguide.errors import UsageError

MOST = 1024  # nodes; more than that is no list of hosts
_LARGEST = 1 << 20  # bytes of a hostfile
# [USER@]HOST[:PORT]; an IPv6 address stands in brackets. No part begins with "-", an option to ssh, and none holds
# what a shell would read.
_HOST = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9_.-]*)@)?"
    r"(?:\[(?P<address>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9_.]+)?)\]|(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*))"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)
_FORM = "write [USER@]HOST[:PORT], e.g. gpu1,gpu2 or user@10.0.0.1:2222,user@10.0.0.2:2222"


@dataclass(frozen=True)
class Host:
    """A node as ssh is told of it; `user` and `port` are None where ssh's own config says them."""

    name: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        """As it is typed: what `parse_host` reads."""
        user = f"{self.user}@" if self.user else ""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{user}{name}" + (f":{self.port}" if self.port is not None else "")

    @property
    def target(self) -> str:
        """What ssh calls it."""
        return f"{self.user}@{self.name}" if self.user else self.name

    @property
    def file_name(self) -> str:
        """A name of a file for it, another one for each node."""
        return str(self).translate({ord(":"): "+", ord("["): "", ord("]"): "=", ord("%"): "~"})


@dataclass(frozen=True)
class Hostfile:
    """What a hostfile says; `slots` of each node, None if it says none."""

    hosts: tuple[Host, ...]
    slots: int | None = None


def parse_host(text: str) -> Host:
    """One node. Raises UsageError if it is not one."""
    match = _HOST.fullmatch(text)
    port = int(match["port"]) if match and match["port"] else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise UsageError(f"{text!r} is not a host", _FORM)
    return Host(match["address"] or match["name"], match["user"], port)


def parse_hosts(text: str) -> tuple[Host, ...]:
    """The nodes of `--nodes`, separated by commas. Raises UsageError as `parse_host`, or if one stands there twice."""
    return _distinct([parse_host(part.strip()) for part in text.split(",")])


def read_hostfile(path: Path) -> Hostfile:
    """The nodes of a file: a line `HOST [slots=N]` for each, # begins a comment.

    Raises:
        UsageError: it cannot be read, or a line is something else; slots differ, because each node gets as many
            processes.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
        text = content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(
            f"cannot read the hostfile {path}: {said}", "name a text file with a host on each line"
        ) from None
    if len(content) > _LARGEST:
        raise UsageError(f"{path} is too large for a hostfile", "name a text file with a host on each line")
    return parse_hostfile(text, str(path))


def parse_hostfile(text: str, name: str) -> Hostfile:
    """As `read_hostfile`, of its text; `name` is what messages call it."""
    found = list(_lines(text, name))
    if not found:
        raise UsageError(f"{name} names no host", "write a host on each line")
    slots = {count for _, count in found}
    if len(slots) > 1:
        raise UsageError(
            f"{name} gives its hosts different numbers of slots, and each node trains with as many processes",
            "give all the same slots=N, or none and --nproc N",
        )
    return Hostfile(_distinct([host for host, _ in found]), slots.pop())


def _lines(text: str, name: str) -> Iterator[tuple[Host, int | None]]:
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            host = parse_host(words[0])
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error.what}", error.fix) from None
        slots = re.fullmatch(r"slots=([1-9][0-9]{0,3})", words[1], re.ASCII) if len(words) == 2 else None
        if len(words) > 2 or (len(words) == 2 and slots is None):
            raise UsageError(
                f"{name}, line {number}: {' '.join(words[1:])!r} is not slots=N", "write HOST, or HOST slots=N"
            )
        yield host, int(slots[1]) if slots else None


def _distinct(hosts: Sequence[Host]) -> tuple[Host, ...]:
    if len(hosts) > MOST:
        raise UsageError(f"{len(hosts)} nodes are more than {MOST}", "name fewer")
    for host, count in Counter(hosts).items():
        if count > 1:
            raise UsageError(f"{host} is named twice", "name each node once; --nproc N starts N processes on each")
    return tuple(hosts)
