"""The address of a server: who can reach it, and the key that they need."""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from rlguide.console import printable
from rlguide.engine.server import KEY
from rlguide.errors import RlguideError, UsageError

LOOPBACK = "127.0.0.1"
_SHORTEST_KEY = 8  # characters
_BACKLOG = 128  # connections that wait while the model loads, or while all are busy


def key_for(host: str) -> str:
    """The key that clients must send: of the environment only, "" where there is none and only this host reaches it.

    Raises:
        UsageError: others reach it and there is no key, or it cannot be sent in a header. The key is never shown.
    """
    key = os.environ.get(KEY, "").strip()
    if not key and not is_loopback(host):
        raise UsageError(
            f"with --host {printable(host)} others on the network can use the model, and {KEY} holds no key",
            f"set one, which clients then send: `export {KEY}=$(openssl rand -hex 24)`",
        )
    if key and not (key.isascii() and key.isprintable() and " " not in key and len(key) >= _SHORTEST_KEY):
        raise UsageError(
            f"{KEY} must have {_SHORTEST_KEY} characters or more, of ASCII and without spaces",
            f"make one: `export {KEY}=$(openssl rand -hex 24)`",
        )
    return key


def is_loopback(host: str) -> bool:
    """Whether only this host reaches an address. Raises UsageError for one that does not exist."""
    return all(ipaddress.ip_address(address).is_loopback for _, address in _resolved(host))


def names_of(host: str) -> tuple[str, ...]:
    """The names by which clients may call a server on the loopback; () for any other, where the key protects it.

    A web page can give 127.0.0.1 a name of its own, and so read what the browser refuses it otherwise.
    """
    if not is_loopback(host):
        return ()
    return tuple(
        dict.fromkeys(["localhost", LOOPBACK, "::1", host.lower(), *(address for _, address in _resolved(host))])
    )


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, before the model is loaded: a port that is taken is known at once.

    Connections that come meanwhile wait until the model is ready.

    Args:
        port: 0 for any free one.

    Raises:
        UsageError: the port is taken, or the address is not of this host.
        RlguideError: the port may not be used.
    """
    family, address = _resolved(host)[0]
    with socket.socket(family, socket.SOCK_STREAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind((address, port))
            opened.listen(_BACKLOG)
        except OSError as error:
            raise _unusable(host, port, error) from error
        yield opened


def address_of(host: str, opened: socket.socket) -> str:
    """The address that clients are given, up to `/v1`."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{opened.getsockname()[1]}/v1"


def _unusable(host: str, port: int, error: OSError) -> RlguideError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {port} of {printable(host)} is taken",
            "take any free one: `rlguide serve --port 0`; `rlguide serve --list` shows what rlguide serves",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{printable(host)} is no address of this host", f"leave --host out for {LOOPBACK}")
    if error.errno == errno.EACCES:
        return RlguideError(
            f"port {port} may only be used by root", "take one from 1024 on, or any free one: `rlguide serve --port 0`"
        )
    return RlguideError(
        f"cannot listen on {printable(host)}: {error.strerror or error}", "try another --host or --port"
    )


@functools.cache  # what was found harmless is what is listened on
def _resolved(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """The addresses of a name, with their families. Raises UsageError if there is none."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UsageError(
            f"there is no host {printable(host)}", f"leave --host out for {LOOPBACK}, or name an address of this host"
        ) from None
    return [(family, str(name[0]).partition("%")[0]) for family, _, _, _, name in found]
