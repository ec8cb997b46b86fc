"""Which Slurm job is a run's: a record may be a copy, of another cluster, or somebody else's."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.launchers.launch import SLURM, Launch
from rlguide.launchers.slurm.states import forget
from rlguide.policy.run_record import RecordedReference, RunRecord, read_record, write_record
from rlguide.runs.manage.stop import running_run
from rlguide.runs.record import open_run
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide

RUN = "saves/在 slurm"


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose run trains in a job; what is cancelled leaves a file."""
    root, commands = tmp_path / "工作 space", tmp_path / "bin"
    commands.mkdir()
    answers = {"squeue": f"echo '12|RUNNING|n1|None|{root}'", "scancel": f"touch '{tmp_path}/cancelled'"}
    for name, body in answers.items():
        (commands / name).write_text(f"#!/bin/sh\n{body}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}/usr/bin:/bin")
    (root / RUN).mkdir(parents=True)
    launch = Launch(SLURM, handle={"job": "12"})
    record = RunRecord(status="prepared", base="b", stack=(), reference=RecordedReference("b", ()), config={})
    write_record(root / RUN, replace(record, launch=launch.as_dict()))
    forget("12")
    return Workspace(root)


def test_the_job_in_this_workspace_is_its_own(ws: Workspace, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(ws.root)
    for root in (ws.root, tmp_path / "link"):
        assert open_run(Workspace(root), RUN).status == "running"


def test_a_copy_has_no_job_and_cannot_end_one(ws: Workspace, tmp_path: Path) -> None:
    copy = shutil.copytree(ws.root, tmp_path / "copy")
    run = open_run(Workspace(copy), RUN)
    assert (run.slurm_job, run.status) == (None, "interrupted")
    with pytest.raises(UsageError):
        running_run(Workspace(copy), RUN)
    assert not (tmp_path / "cancelled").exists()


def test_a_folder_of_another_host_is_not_taken_for_another_workspace(ws: Workspace, tmp_path: Path) -> None:
    moved = ws.root.rename(tmp_path / "mounted elsewhere")
    assert open_run(Workspace(moved), RUN).status == "running"


def test_nodes_that_train_together_are_not_restarted_by_one(
    ws: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where the run begins: the record says how many they are."""
    (tmp_path / "bin/squeue").write_text("#!/bin/sh\necho '12|CANCELLED|n1|None|/'\n")
    record = read_record(ws.root / RUN)
    assert record is not None
    write_record(ws.root / RUN, replace(record, launch=Launch(SLURM, nodes=2, handle={"job": "12"}).as_dict()))
    assert rlguide("train", "--resume", RUN, "--auto-retry", "-w", str(ws.root)) == 2
    assert "--auto-retry restarts the processes of one node, and 2 are" in capsys.readouterr().err
