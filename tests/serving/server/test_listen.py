"""Where a server listens, by which names it may be called, and which keys it takes."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from rlguide.errors import UsageError
from rlguide.serving.server import listen
from tests.worker.conftest import worker_module

KEY = "abcdefgh1234"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """No address is known from another test."""
    listen._resolved.cache_clear()
    yield
    listen._resolved.cache_clear()


@pytest.mark.parametrize(
    "key", ["钥匙钥匙钥匙钥匙钥匙", "two words 12", "two\nlines12", "tab\tulator12", "short", "é" * 9]
)
def test_a_key_that_no_header_can_hold_is_refused_unseen(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(listen.KEY, key)
    with pytest.raises(UsageError) as caught:
        listen.key_for("127.0.0.1")
    assert key not in caught.value.what + caught.value.fix
    monkeypatch.setenv(listen.KEY, f" {KEY}\n")  # as a file with the key ends
    assert listen.key_for("0.0.0.0") == KEY


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost", "LOCALHOST"])
def test_a_client_of_the_loopback_calls_it_by_its_name_and_a_page_by_none_of_its_own(host: str) -> None:
    name_of = worker_module("openai_api.guard")._name_of
    names = listen.names_of(host)
    try:
        with listen.listening(host, 0) as opened:
            address = urlsplit(listen.address_of(host, opened))
    except OSError:
        pytest.skip("no such address on this machine")
    connection = http.client.HTTPConnection(str(address.hostname), address.port)
    sent: list[bytes] = []
    connection.send = sent.append  # type: ignore[assignment, method-assign]
    connection.request("GET", "/")
    header = next(line for line in sent[0].decode().split("\r\n") if line.startswith("Host: "))
    assert name_of(header.removeprefix("Host: ")) in names
    for other in ("page.example", "page.example:8000", "127.0.0.1.page.example", "[::2]:80", "localhost.page", ""):
        assert name_of(other) not in names


def test_a_name_means_what_it_meant_when_it_was_found_to_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server may say another address the next time."""
    told = iter(["127.0.0.1", "0.0.0.0", "0.0.0.0", "0.0.0.0"])

    def getaddrinfo(*_: Any, **more: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(told), 0))]

    monkeypatch.delenv(listen.KEY, raising=False)
    monkeypatch.setattr(listen.socket, "getaddrinfo", getaddrinfo)
    assert listen.key_for("turns.example") == ""
    with listen.listening("turns.example", 0) as opened:
        assert opened.getsockname()[0] == "127.0.0.1"


def test_a_port_is_free_again_as_soon_as_its_server_has_ended() -> None:
    """Connections that the server closed first keep the port in TIME_WAIT."""
    with listen.listening("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        taken, _ = opened.accept()
        taken.close()
        client.recv(1)
        client.close()
    with listen.listening("127.0.0.1", port) as again:
        assert again.getsockname()[1] == port
