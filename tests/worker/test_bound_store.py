"""What processes of a training listen on: the address that they are named by, and the interface that has it."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlguide_worker.bound_store import interface_of, listening, talk_over

NAMES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@pytest.fixture(autouse=True)
def _host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host whose loopback interface has another name, and one interface has two addresses."""
    found = {"lo7": ("127.0.0.1", "::1"), "eth10": ("10.0.0.2",), "eth1": ("02:00:00:00:00:01", "10.0.0.1", "10.0.0.9"),
             "ib0": ("fe80::2%ib0", "fd00::2")}  # fmt: skip
    addresses = {name: [SimpleNamespace(address=one) for one in ones] for name, ones in found.items()}
    monkeypatch.setattr("psutil.net_if_addrs", lambda: addresses)
    monkeypatch.setenv("NCCL_CONF_FILE", str(tmp_path / "nccl.conf"))
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def named() -> list[str | None]:
    return [os.environ.get(name) for name in NAMES]


def test_one_address_is_listened_on() -> None:
    listener = listening("127.0.0.1", 0)
    assert listener is not None
    with listener:
        assert listener.getsockname()[0] == "127.0.0.1"
        assert listening("127.0.0.1", listener.getsockname()[1]) is None  # taken
    assert listening("192.0.2.250", 0) is None  # not of this host (RFC 5737)


@pytest.mark.parametrize(
    ("address", "interface"),
    [
        ("127.0.0.1", "lo7"),
        ("::1", "lo7"),
        ("10.0.0.9", "eth1"),
        ("fe80::2%ib0", "ib0"),
        ("fd00::2", "ib0"),
        ("192.0.2.250", ""),
    ],
)
def test_the_interface_of_an_address(address: str, interface: str) -> None:
    assert interface_of(address) == interface


def test_the_interfaces_of_this_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert interface_of("127.0.0.1") in {name for _, name in socket.if_nameindex()}


def test_exactly_that_interface_is_used() -> None:
    """To NCCL a name is a prefix, and eth1 one of eth10, unless = stands before it; to gloo it is a name."""
    talk_over("10.0.0.1")
    assert named() == ["eth1", "=eth1"]


def test_what_the_user_names_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth10")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib")
    talk_over("10.0.0.1")
    assert named() == ["eth10", "ib"]


def test_what_a_file_of_nccl_names_stays(tmp_path: Path) -> None:
    (tmp_path / "nccl.conf").write_text("NCCL_DEBUG=WARN\nNCCL_SOCKET_IFNAME==ib0\n")
    talk_over("10.0.0.1")
    assert named() == ["eth1", None]


def test_an_address_of_no_interface_names_none() -> None:
    """Of a host behind NAT: gloo and NCCL choose as they would."""
    talk_over("192.0.2.250")
    assert named() == [None, None]
