"""Submitting a run: nothing is written that cannot be submitted, and the job runs rlguide itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rlguide.launchers.slurm.client import SlurmError
from rlguide.launchers.slurm.spec import JobSpec, parse_spec
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.slurm.submit import job_script, launch_in_slurm, submit
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


def test_no_module_of_the_workspace_is_run(ws: Workspace) -> None:  # noqa: F811
    """It may be somebody else's, and the job runs in it."""
    for name in ("rlguide", "typer", "signal"):
        (ws.root / f"{name}.py").write_text("open('ran', 'w')")
    script = job_script(ws, "saves/run", launch_in_slurm(parse_spec("partition=gpu"), None), ENGINE, [])
    [command] = script.commands
    done = subprocess.run([*command, "--help"], cwd=script.folder, capture_output=True, text=True, check=True)
    assert "--resume" in done.stdout
    assert script.folder == ws.root
    assert not (ws.root / "ran").exists()
