"""Which job a process runs in."""

from __future__ import annotations

import pytest

from rlguide.launchers.slurm.inside import own_job
from rlguide.launchers.slurm.script import IN_JOB


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({IN_JOB: "1", "SLURM_JOB_ID": "13"}, "13"),
        # A job of an array has an id of its own, too; it is found by its place in the array.
        ({IN_JOB: "1", "SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1"}, "12_1"),
        ({"SLURM_JOB_ID": "13"}, ""),  # not written by rlguide
        ({IN_JOB: "1", "SLURM_JOB_ID": "13; rm"}, ""),
        ({IN_JOB: "1"}, ""),
    ],
)
def test_own_job(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], job: str) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", IN_JOB):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert own_job() == job
