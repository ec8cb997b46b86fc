"""What Slurm's commands are told by the environment: nothing that a person has not said with --slurm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rlguide.launchers.slurm.client import ask, submit
from rlguide.launchers.slurm.script import Script
from rlguide.launchers.slurm.spec import parse_spec

OF_THE_SHELL = {
    **{f"SBATCH_{name}": "other" for name in ("PARTITION", "TIMELIMIT", "ERROR", "GRES", "SIGNAL", "NO_REQUEUE")},
    **{f"SBATCH_{name}": "other" for name in ("ACCOUNT", "ARRAY_INX", "WAIT", "EXPORT")},
    **{"SQUEUE_PARTITION": "other", "SCANCEL_INTERACTIVE": "1", "SACCT_LOCAL": "1", "SLURM_TIME_FORMAT": "relative"},
    **{"SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/其他.conf", "HF_HOME": "/data"},
}


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The variables that a command of Slurm saw last, in a file."""
    path = tmp_path / "seen"
    for name in ("sbatch", "squeue"):
        (tmp_path / name).write_text(f"#!/bin/sh\nenv >'{path}'\necho 12\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    for name, value in OF_THE_SHELL.items():
        monkeypatch.setenv(name, value)
    return path


def names(seen: Path) -> set[str]:
    return {line.partition("=")[0] for line in seen.read_text(encoding="utf-8").splitlines()} & set(OF_THE_SHELL)


@pytest.mark.parametrize(
    ("spec", "others"),
    [
        ("partition=gpu,time=5,gpus=2,account=mine", set()),
        # What --slurm leaves open is left to the person's defaults.
        ("partition=gpu", {"SBATCH_TIMELIMIT", "SBATCH_GRES", "SBATCH_ACCOUNT"}),
    ],
)
def test_the_script_says_what_is_submitted(seen: Path, tmp_path: Path, spec: str, others: set[str]) -> None:
    script = Script("run", [["true"]], tmp_path, tmp_path / "x.log", parse_spec(spec))
    assert submit(tmp_path / "job.sbatch", script) == "12"
    assert names(seen) == {"SBATCH_EXPORT", "SLURM_CONF", "HF_HOME"} | others


def test_no_job_is_left_out_of_a_list(seen: Path) -> None:
    ask(["squeue"])
    assert not {name for name in names(seen) if not name.startswith("SBATCH_")} - {"SLURM_CONF", "HF_HOME"}
