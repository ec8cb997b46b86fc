"""The GPUs of a job: those that its nodes have, whatever the host is that it is typed on."""

from __future__ import annotations

import pytest

from rlguide.engine.hardware import Gpu
from rlguide.launchers.slurm.spec import parse_spec
from rlguide.recipes.inputs import compute_keys
from rlguide.runs.slurm import gpus
from rlguide.runs.slurm.gpus import job_gpus
from rlguide.runs.slurm.submit import launch_in_slurm


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without GPUs."""
    monkeypatch.setattr(gpus, "list_gpus", list)
    monkeypatch.setattr(gpus, "host_gpus", lambda: None)


@pytest.mark.parametrize(
    ("spec", "count", "precision", "is_planned"),
    [
        ("gpus=a100:4", 4, "bf16", True),
        ("gpus=v100:2", 2, "fp16", True),
        ("gpus=8", 8, "bf16", False),
        ("gpus=tt-quasar:2", 2, "bf16", False),
        ("gpus=0", 0, "", False),
        ("partition=gpu", 0, "", False),
    ],
)
def test_what_a_config_is_made_for(login: None, spec: str, count: int, precision: str, is_planned: bool) -> None:
    found = job_gpus(parse_spec(spec))
    keys = compute_keys(found.each, 0)
    assert len(found.each) == count and (found.kind is not None) is is_planned
    assert keys.get("use_cpu", False) is (count == 0)
    assert not precision or keys[precision] is True
    assert (found.assumed == "") is is_planned  # what is assumed is said


def test_without_a_type_they_are_as_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [Gpu(0, "NVIDIA RTX A6000", 48 << 30, 48 << 30, (8, 6))]
    monkeypatch.setattr("rlguide.planner.asked.list_gpus", lambda: here)
    monkeypatch.setattr(gpus, "list_gpus", lambda: here)
    found = job_gpus(parse_spec("gpus=2"))
    assert len(found.each) == 2 and found.kind is not None and "A6000" in found.assumed


@pytest.mark.parametrize(
    ("spec", "nproc", "processes"),
    [("gpus=4", None, 4), ("gpus=1", None, None), ("nodes=2,gpus=1", None, 1), ("nodes=2", 3, 3), ("", None, None)],
)
def test_processes_of_each_node(spec: str, nproc: int | None, processes: int | None) -> None:
    assert launch_in_slurm(parse_spec(spec), nproc).nproc == processes
