"""How a training is launched: read back as it was written, whatever the file says, and in effect only while it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.hardware import Gpu
from rlguide.engine.job import Command
from rlguide.errors import UsageError
from rlguide.launchers.launch import RAY, SLURM, SSH, Launch, check_gpus, in_effect, read_launch, started, with_gpus

PLAIN = st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=8), st.integers(), st.booleans()), max_size=3)
LAUNCHES = st.builds(
    Launch,
    launcher=st.sampled_from(("local", SSH, SLURM, RAY)),
    gpus=st.sampled_from(("", "0", "0,1")),
    nodes=st.integers(1, 64),
    nproc=st.one_of(st.none(), st.integers(1, 8)),
    hosts=st.lists(st.text(max_size=8), max_size=3).map(tuple),
    max_restarts=st.integers(0, 9),
    settings=PLAIN,
    handle=PLAIN,
)
ANYTHING = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
)


@given(LAUNCHES)
def test_read_as_written(launch: Launch) -> None:
    assert read_launch(json.loads(json.dumps(launch.as_dict()))) == launch


@given(st.one_of(ANYTHING, st.fixed_dictionaries({}, optional=dict.fromkeys(Launch().__dict__, ANYTHING))))
def test_what_a_file_says_is_data(value: object) -> None:
    found = read_launch(value)
    assert found.nodes >= 1
    assert found.launcher in ("local", SSH, SLURM, RAY)
    found.variables  # noqa: B018  (it must not raise)


def test_in_effect_only_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.delenv("NPROC_PER_NODE", raising=False)
    with pytest.raises(KeyError), in_effect(Launch(gpus="0,1", nproc=2)):
        assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["NPROC_PER_NODE"]) == ("0,1", "2")
        raise KeyError
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert "NPROC_PER_NODE" not in os.environ


def test_what_a_person_set_of_other_nodes_stays() -> None:
    assert "NNODES" not in Launch(nproc=2).variables
    assert Launch(nodes=2).variables["NNODES"] == "2"


def test_gpus_are_counted_as_the_driver_counts_them() -> None:
    assert Launch(gpus="0,1").variables["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_DEVICE_ORDER" not in Launch(nproc=2).variables


@pytest.mark.parametrize(
    ("asked", "here", "visible", "words"),
    [
        ("0", 0, None, "no GPU is seen"),
        ("0,4", 2, None, "there is no GPU 4 on this host"),
        ("0", 4, "2,3", "CUDA_VISIBLE_DEVICES=2,3 hides GPU 0"),
        ("0", 1, "", "hides GPU 0"),
        ("0", 1, "GPU-8932f937", "hides GPU 0"),
        ("1,0", 2, None, ""),
        ("2", 4, "2,3", ""),
        ("", 0, "2,3", ""),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, asked: str, here: int, visible: str | None, words: str
) -> None:
    gpus = [Gpu(index, "A6000", 48 << 30, 48 << 30, (8, 6)) for index in range(here)]
    monkeypatch.setattr("rlguide.launchers.launch.every_gpu", lambda: gpus)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    if not words:
        check_gpus(Launch(gpus=asked), environment)
        return
    with pytest.raises(UsageError, match=words):
        check_gpus(Launch(gpus=asked), environment)


@pytest.mark.parametrize("text", ["2xA6000", "a6000", "24GB"])
def test_kinds_of_gpus_are_known_for_the_other_option(text: str) -> None:
    with pytest.raises(UsageError, match="names a kind of GPU"):
        with_gpus(Launch(), text)
    with pytest.raises(UsageError, match="are indices of GPUs, and a plan needs their kind"):
        parse_gpus("0,1")


def test_here_the_command_is_run_as_it_is(tmp_path: Path) -> None:
    command = Command(("train", "a config.yaml"))
    assert started(Launch(nproc=2), command, tmp_path) is command


@pytest.mark.parametrize("text", ["", "a", "0,,1", "0,0", "-1", "2xA6000", "１"])
def test_gpus_are_indices(text: str) -> None:
    with pytest.raises(UsageError):
        with_gpus(Launch(), text)
