"""What `rlguide launch` is asked for: nodes, and how many processes each gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.errors import RlguideError, UsageError
from rlguide.launchers.ssh.asked import Asked, launch_for
from tests.cli.command import run as rlguide
from tests.launchers.ssh.conftest import Hosts


def have(hosts: Hosts, **gpus: int) -> None:
    """Give each host so many GPUs, as its nvidia-smi lists them."""
    lines = "; ".join(f'test "$STAND_IN_HOST" = {name} && yes A100 | head -n {count}' for name, count in gpus.items())
    program = hosts.folder / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{lines}; exit 0\n")
    program.chmod(0o755)


def test_each_gpu_gets_a_process(hosts: Hosts) -> None:
    have(hosts, one=4, two=4)
    launch = launch_for(Asked("one,two", max_restarts=3))
    assert (launch.nodes, launch.nproc, launch.hosts, launch.max_restarts) == (2, 4, ("one", "two"), 3)
    assert launch.variables["NNODES"] == "2"


def test_slots_of_a_hostfile_and_nproc_before_them(hosts: Hosts, tmp_path: Path) -> None:
    file = tmp_path / "主 机.txt"
    file.write_text("# ours\none slots=2\nme@two:2222 slots=2\n")
    assert launch_for(Asked(hostfile=file)).nproc == 2
    assert launch_for(Asked(hostfile=file)).hosts == ("one", "me@two:2222")
    assert launch_for(Asked(hostfile=file, nproc=1)).nproc == 1
    assert hosts.commands == []


def test_a_config_of_ssh_is_kept_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my config").touch()
    monkeypatch.chdir(tmp_path)
    launch = launch_for(Asked("one", nproc=1, ssh_config=Path("my config")))
    assert launch.settings["ssh_config"] == str(tmp_path / "my config")


@pytest.mark.parametrize(
    ("gpus", "what"),
    [({"one": 4, "two": 2}, "two has 2 GPUs, and one has 4"), ({"one": 4}, "two has no GPU"), ({}, "one has no GPU")],
)
def test_nodes_without_or_with_other_gpus(hosts: Hosts, gpus: dict[str, int], what: str) -> None:
    have(hosts, **gpus or {"nobody": 1})
    with pytest.raises(RlguideError, match=what) as found:
        launch_for(Asked("one,two"))
    assert "--nproc" in found.value.fix


def test_a_node_that_is_not_reached(hosts: Hosts) -> None:
    hosts.tell("two", refused="No route to host")
    with pytest.raises(RlguideError, match="two cannot be reached over ssh: No route"):
        launch_for(Asked("one,two"))


def test_what_helps_is_said_as_of_a_check(hosts: Hosts) -> None:
    hosts.tell("two", refused="me@two: Permission denied (publickey).")
    with pytest.raises(RlguideError, match="Permission denied") as found:
        launch_for(Asked("one,two"))
    assert found.value.fix.endswith("ssh-copy-id two")


@pytest.mark.parametrize(
    "asked",
    [Asked(), Asked("one", Path("hosts")), Asked("one,one"), Asked("-oProxyCommand=x"), Asked("one", shown=("train",))],
)
def test_what_cannot_be_meant(asked: Asked) -> None:
    with pytest.raises(UsageError):
        launch_for(asked)


@pytest.mark.parametrize(
    "words",
    [
        ("--nodes", "one", "--nproc", "1", "--", "eval"),
        ("--", "train", "--resume"),
        ("--nodes", "one;true", "--nproc", "1", "--", "train"),
        ("--nodes", "one", "--nproc", "1", "--ssh-config", "none", "--", "train"),
        ("--nodes", "one", "--nproc", "1"),
        ("--nodes", "one", "--nproc", "1", "--print", "--", "train", "--resume"),
    ],
)
def test_the_command_says_so(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert rlguide("launch", *words) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_options_behind_the_line_are_those_of_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert rlguide("launch", "--nodes", "one", "--nproc", "1", "--", "train", "--help") == 0
    assert "--sft-ckpt" in capsys.readouterr().out
