"""Nodes that have something else are refused in two lines that name node and difference, and nothing is left behind."""

from __future__ import annotations

import hashlib
import json
import resource
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.methods import find_method
from rlguide.engine.find import Engine
from rlguide.errors import RlguideError
from rlguide.launchers.launch import SSH, Launch, Needs, check_hosts, wait_for_hosts
from rlguide.runs.hosts import needs_of
from rlguide.workspace import Workspace
from tests.launchers.ssh.conftest import Hosts
from tests.recipes.conftest import asked

LAUNCH = Launch(SSH, nodes=2, nproc=2, hosts=("one", "me@two:2222"))
TWO = "me@two"


@pytest.fixture
def needs(ws: Workspace, engine: Engine) -> Needs:
    prepared = asked(ws, output_dir="saves/run")
    folder = ws.root / "saves/run"
    folder.mkdir(parents=True)
    return needs_of(ws, engine, folder, find_method(None), prepared.config)


def test_nodes_that_agree(hosts: Hosts, needs: Needs, ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they were asked is all that the training reads, and no key is told them."""
    monkeypatch.setenv("HF_TOKEN", "hf_aSecret")
    check_hosts(LAUNCH, needs)
    assert {path.name for path in needs.data} == {"polite.json", "polite_test.json"}
    assert {path.name for path in needs.models} == {"tiny-base", "sft"}
    assert list(needs.folder.iterdir()) == []
    assert [command[-2] for command in hosts.commands] == ["one", TWO] or len(hosts.commands) == 2
    assert "hf_aSecret" not in json.dumps(hosts.commands)


REFUSED = [
    ({"refused": "me@two: Permission denied (publickey)."}, "cannot be reached", "ssh-copy-id -p 2222 me@two"),
    ({"refused": "Host key verification failed."}, "Host key", "known_hosts: ssh -p 2222 me@two"),
    ({"refused": "REMOTE HOST IDENTIFICATION HAS CHANGED!"}, "HAS CHANGED", "ssh-keygen -R '[two]:2222'"),
    ({"refused": "ssh: connect to host two port 2222: Connection timed out"}, "timed out", "ssh -p 2222 me@two true"),
    ({"refused": "\x1b[31mred"}, "red", "ssh -p"),
    ({"answer": {"python": "3.9.1"}}, "has python 3.9.1, and", "the same versions"),
    ({"answer": {"versions": {"torch": "2.0.0"}}}, "has torch 2.0.0, and here is", "the same versions"),
    ({"answer": {"versions": {"llamafactory": ""}}}, "has no llamafactory", "the same versions"),
    ({"answer": {"versions": 3}}, "has no ", "the same versions"),
    ({"answer": {"worker": "f" * 64}}, "other files in", "same version of rlguide"),
    ({"answer": {"probe": ""}}, "another folder at", "at the same path"),
]


@pytest.mark.parametrize(("told", "what", "fix"), REFUSED)
def test_what_differs_is_named(hosts: Hosts, needs: Needs, told: dict[str, Any], what: str, fix: str) -> None:
    hosts.tell(TWO, **told)
    with pytest.raises(RlguideError) as found:
        check_hosts(LAUNCH, needs)
    assert found.value.what.startswith("me@two:2222 ")
    assert what in found.value.what
    assert fix in found.value.fix
    assert "\n" not in found.value.what + found.value.fix
    assert "\x1b" not in found.value.what
    assert list(needs.folder.iterdir()) == []


@pytest.mark.parametrize(("kind", "index"), [("data", 0), ("data", 1), ("models", 0), ("models", 1)])
@pytest.mark.parametrize(("digest", "word"), [("", "no"), ("f" * 64, "another")])
def test_files_that_differ_are_named(hosts: Hosts, needs: Needs, kind: str, index: int, digest: str, word: str) -> None:
    path = str(getattr(needs, kind)[index])
    hosts.tell(TWO, answer={kind: {path: digest}})
    with pytest.raises(RlguideError) as found:
        check_hosts(LAUNCH, needs)
    assert found.value.what == f"me@two:2222 has {word} {path}"


def test_a_model_of_the_hub_is_of_one_commit(
    hosts: Hosts, needs: Needs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    refs = tmp_path / "hub" / "models--Qwen--Qwen3-4B" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("1" * 40)
    needs = replace(needs, hub=("Qwen/Qwen3-4B",))
    check_hosts(LAUNCH, needs)
    hosts.tell(TWO, answer={"hub": {"Qwen/Qwen3-4B": "2" * 40}})
    with pytest.raises(RlguideError, match=f"Qwen3-4B {'2' * 40}, and here is Qwen/Qwen3-4B {'1' * 40}"):
        check_hosts(LAUNCH, needs)


@pytest.mark.parametrize(
    ("one", "two", "what"),
    [
        (["A100", "A100"], ["A100"], "me@two:2222 has 1 GPUs, and 2 processes"),
        (["A100", "A100"], [], "me@two:2222 has 0 GPUs"),
        (["A100", "A100"], ["H100", "H100"], "me@two:2222 has H100, and one A100"),
        (["A100"], ["A100", "A100"], "one has 1 GPUs"),
        ([], [], "one has 0 GPUs"),
    ],
)
def test_gpus_are_enough_and_of_one_kind(hosts: Hosts, needs: Needs, one: list[str], two: list[str], what: str) -> None:
    hosts.tell("one", answer={"gpus": one})
    hosts.tell(TWO, answer={"gpus": two})
    with pytest.raises(RlguideError) as found:
        check_hosts(LAUNCH, replace(needs, on_cpu=False))
    assert what in found.value.what
    if not one:
        check_hosts(LAUNCH, needs)


def test_without_ssh(hosts: Hosts, needs: Needs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RlguideError, match="one cannot be reached over ssh: cannot start ssh: No such file") as found:
        check_hosts(LAUNCH, needs)
    assert "apt install openssh-client" in found.value.fix


def test_a_full_disk_keeps_no_part_of_the_probe(hosts: Hosts, needs: Needs) -> None:
    """As a limit on the size of files has it: the write fails, not the opening."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="large"):
            check_hosts(LAUNCH, needs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(needs.folder.iterdir()) == []


def test_what_is_to_be_tried_names_the_config_of_ssh(hosts: Hosts, needs: Needs) -> None:
    hosts.tell(TWO, refused="me@two: Permission denied (publickey).")
    with pytest.raises(RlguideError) as found:
        check_hosts(replace(LAUNCH, settings={"ssh_config": "/my 配置"}), needs)
    assert shlex.split(found.value.fix.rpartition(": ")[2]) == ["ssh-copy-id", "-F", "/my 配置", "-p", "2222", "me@two"]


@pytest.mark.parametrize(
    ("one", "two", "what"),
    [
        (["10.0.0.1", "22"], ["10.0.0.1", "22"], "one and me@two:2222 are one host, 10.0.0.1"),
        (["127.0.0.1", "22"], ["10.0.0.2", "22"], "one is reached at 127.0.0.1, where me@two:2222 cannot reach it"),
        (["::1", "22"], ["10.0.0.2", "22"], "one is reached at ::1"),
    ],
)
def test_the_others_reach_the_first(hosts: Hosts, needs: Needs, one: list[str], two: list[str], what: str) -> None:
    hosts.tell("one", answer={"reached": one})
    hosts.tell(TWO, answer={"reached": two})
    with pytest.raises(RlguideError) as found:
        check_hosts(LAUNCH, needs)
    assert what in found.value.what


def test_gpus_are_not_left_unused(hosts: Hosts, needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A config that was made where there is none says use_cpu."""
    assert needs.on_cpu
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hosts.tell(TWO, answer={"gpus": ["A100", "A100"]})
    with pytest.raises(RlguideError, match="this host none") as found:
        check_hosts(LAUNCH, needs)
    assert "on one of the nodes" in found.value.fix


def test_an_engine_that_is_not_there(hosts: Hosts, needs: Needs) -> None:
    """On the node; the words to try quote the path for its shell, too. And here."""
    hosts.tell(TWO, moved=str(needs.engine.python))
    with pytest.raises(RlguideError) as found:
        check_hosts(LAUNCH, needs)
    assert found.value.what.startswith(f"me@two:2222 has no engine that runs at {needs.engine.python}: ")
    *_, quoted = shlex.split(found.value.fix.partition("says: ")[2])
    assert shlex.split(quoted) == [str(needs.engine.python), "-V"]
    missing = replace(needs, engine=replace(needs.engine, python=needs.engine.python.with_name("none")))
    with pytest.raises(RlguideError, match="does not run here"):
        check_hosts(LAUNCH, missing)


def test_what_a_model_is_shows_in_its_checksum(hosts: Hosts, needs: Needs, ws: Workspace) -> None:
    """Of samples: the size, the first and the last part of a file that is larger than they are."""
    import rlguide_worker.check_node as node

    large = ws.root / "large"
    large.mkdir()
    file = large / "model.safetensors"
    content = bytearray(b"x" * (4 << 20))
    seen = set()
    for place in (None, 0, (4 << 20) - (4 << 20) // 16):
        changed = bytearray(content)
        if place is not None:
            changed[place] = 0
        file.write_bytes(changed)
        seen.add(node.folder_digest(str(large), node.OF_A_MODEL, node.NOT_OF_A_MODEL))
    file.write_bytes(content + b"x")
    seen.add(node.folder_digest(str(large), node.OF_A_MODEL, node.NOT_OF_A_MODEL))
    assert len(seen) == 4
    assert node.file_digest(str(file)) == hashlib.sha256(content + b"x").hexdigest()


def test_waiting_says_for_whom_and_ends(hosts: Hosts, needs: Needs) -> None:
    hosts.tell(TWO, refused="ssh: connect to host two port 2222: No route to host")
    said: list[str] = []
    launch = replace(LAUNCH, settings={"restart_wait": 0.1})

    def tell(text: str) -> None:
        said.append(text)
        hosts.tell(TWO)

    wait_for_hosts(replace(launch, settings={"restart_wait": 60}), needs, tell)
    assert len(said) == 1
    assert "waiting for up to 1 min: me@two:2222 cannot be reached" in said[0]
    hosts.tell(TWO, refused="No route to host")
    with pytest.raises(RlguideError, match="No route"):
        wait_for_hosts(launch, needs, lambda text: None)
