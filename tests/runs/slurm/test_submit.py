"""The command of a job: rlguide itself, whatever lies in the workspace."""

from __future__ import annotations

import subprocess

from rlguide.launchers.slurm.spec import parse_spec
from rlguide.runs.slurm.submit import job_script, launch_in_slurm
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE, ws  # noqa: F401


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
