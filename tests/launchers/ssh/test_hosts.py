"""Hosts as they are typed and as a hostfile has them: read back as written, and no option of ssh."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import UsageError
from rlguide.launchers.ssh.client import ssh_command
from rlguide.launchers.ssh.hosts import Host, Hostfile, parse_host, parse_hostfile, parse_hosts, read_hostfile

WORD = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,12}", fullmatch=True)
ADDRESS = st.ip_addresses(v=6).map(str)
HOSTS = st.builds(
    Host, st.one_of(WORD, ADDRESS), st.one_of(st.none(), WORD), st.one_of(st.none(), st.integers(1, 65535))
)
SPACE = st.sampled_from(("", " ", "\t", "  "))


@given(HOSTS)
def test_read_as_written(host: Host) -> None:
    assert parse_host(str(host)) == host


@given(st.lists(HOSTS, min_size=1, max_size=6, unique=True))
def test_lists_are_read_as_written(hosts: list[Host]) -> None:
    assert parse_hosts(",".join(map(str, hosts))) == tuple(hosts)
    assert len({host.file_name for host in hosts}) == len(hosts)


@given(st.text(max_size=30))
def test_any_text_is_a_host_or_refused(text: str) -> None:
    """What is taken for one is no option of ssh, and nothing that a shell or a path would read."""
    try:
        host = parse_host(text)
    except UsageError:
        return
    assert not host.target.startswith("-")
    assert not set(host.target) & set(" \t\n'\"$`;&|<>()*?/\\")
    assert set(host.file_name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@-+=~")


@given(
    st.lists(
        st.tuples(HOSTS, SPACE, st.sampled_from(("", "# gpu1 slots=9", "#"))),
        min_size=1,
        unique_by=lambda line: line[0],
    ),
    st.one_of(st.none(), st.integers(1, 64)),
    st.sampled_from(("\n", "\r\n", "\n\n", "\n# all of them\n")),
)
def test_a_hostfile_is_read_as_written(lines: list[tuple[Host, str, str]], slots: int | None, between: str) -> None:
    said = f" slots={slots}" if slots else ""
    text = between.join(f"{space}{host}{said}{space} {comment}" for host, space, comment in lines)
    assert parse_hostfile(text, "hosts.txt") == Hostfile(tuple(host for host, _, _ in lines), slots)


@given(st.text(max_size=80))
def test_any_hostfile_is_read_or_refused(text: str) -> None:
    try:
        found = parse_hostfile(text, "hosts.txt")
    except UsageError:
        return
    assert found.hosts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("one\ntwo slots=two", "line 2: 'slots=two'"),
        ("one slots=1 max_slots=2", "line 1"),
        ("-oProxyCommand=x", "line 1: '-oProxyCommand=x' is not a host"),
        ("one slots=1\ntwo slots=2", "different numbers of slots"),
        ("one\none", "one is named twice"),
        ("one:0", "'one:0' is not a host"),
        ("one:65536", "is not a host"),
        ("# nobody", "names no host"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("'", ".")):
        parse_hostfile(text, "hosts.txt")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"#" * (2 << 20)])
def test_a_file_that_is_no_hostfile(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hosts 主机.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError):
        read_hostfile(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_hostfile(tmp_path / "none")


def test_too_many_nodes_are_refused_at_once() -> None:
    with pytest.raises(UsageError, match="100000 nodes are more than"):
        parse_hostfile("\n".join(f"n{index}" for index in range(100000)), "hosts.txt")


def test_two_nodes_of_one_name_have_logs_of_their_own() -> None:
    names = {host.file_name for host in (Host("a", port=1), Host("a_1"), Host("::1", port=22), Host("::1:22"))}
    assert len(names) == 4


def test_ssh_never_asks_and_quotes_what_the_node_reads() -> None:
    command = ssh_command(Host("gpu1", "me", 2222), "my config", ["/工作 space/python", "a'b"])
    assert command[:5] == ["ssh", "-F", "my config", "-p", "2222"]
    assert "BatchMode=yes" in command
    assert not any(part.startswith("StrictHostKeyChecking") for part in command)
    assert command[-3:] == ["--", "me@gpu1", """exec '/工作 space/python' 'a'"'"'b'"""]
