"""Submitting a run: nothing is written that cannot be submitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.launchers.slurm.client import SlurmError
from rlguide.launchers.slurm.spec import JobSpec
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.slurm.submit import launch_in_slurm, submit
from rlguide.runs.training.options import RunOptions
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE, ws  # noqa: F401


def test_without_slurm_nothing_is_written(
    ws: Workspace,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prepared = prepare(ws, ENGINE, TrainingOptions(output_dir="saves/run"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match="sbatch is not on PATH"):
        submit(ws, ENGINE, prepared, RunOptions(launch=launch_in_slurm(JobSpec())), None)
    assert not (ws.root / "saves/run").exists()
