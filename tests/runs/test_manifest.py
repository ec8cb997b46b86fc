"""Runs on disk."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlguide.engine.running import EVENTS, held, is_training
from rlguide.errors import DataError, UsageError
from rlguide.runs.checkpoints import last_checkpoint, put_damaged_aside
from rlguide.runs.record import find_runs, open_run
from rlguide.workspace import Workspace


def make_run(root: Path, name: str, **values: object) -> Path:
    path = root / "saves" / name
    path.mkdir(parents=True, exist_ok=True)
    manifest = {
        "status": "finished",
        "created": "2026-01-01T00:00:00+00:00",
        "base": "b",
        "stack": ["s", f"saves/{name}"],
        "reference": {"base": "b", "adapters": ["s"]},
        "config": {},
        **values,
    }
    (path / "run.json").write_text(json.dumps(manifest))
    return path


def test_the_newest_run(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    make_run(tmp_path, "甲 one", created="2026-01-01")
    make_run(tmp_path, "deep/er/two", created="2026-01-03", status="failed")
    (make_run(tmp_path, "broken") / "run.json").write_text("{")
    assert open_run(ws).path.name == "two"
    assert open_run(ws).name == "saves/deep/er/two"
    assert open_run(ws).file("engine.log") == "saves/deep/er/two/engine.log"
    assert open_run(ws, "saves/甲 one").policy.adapters == ("s", "saves/甲 one")
    assert len(find_runs(ws)) == 2
    with pytest.raises(DataError):
        open_run(ws, "saves/broken")
    with pytest.raises(UsageError, match="did you mean"):
        open_run(ws, "saves/deep/er/twoo")


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        open_run(Workspace(tmp_path))


def test_a_run_whose_process_is_gone_was_interrupted(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    folder = make_run(tmp_path, "alive")
    code = "import sys; sys.stdin.read()"
    trains = subprocess.Popen(
        [sys.executable, "-c", code, str(folder / EVENTS)], stdin=subprocess.PIPE, start_new_session=True
    )
    make_run(tmp_path, "alive", status="running", pid=trains.pid)
    make_run(tmp_path, "gone", status="running", pid=2**22 + 1)
    make_run(tmp_path, "other", status="running", pid=os.getpid())  # the number belongs to another process now
    assert open_run(ws, "saves/alive").status == "running"
    assert open_run(ws, "saves/gone").status == "interrupted"
    assert open_run(ws, "saves/other").status == "interrupted"
    trains.communicate()
    assert open_run(ws, "saves/alive").status == "interrupted"


def test_one_training_at_a_time_holds_a_folder(tmp_path: Path) -> None:
    """The engine inherits the lock: it is held when rlguide is gone, and free when the engine is."""
    path = tmp_path / ".training.lock"
    lock = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    code = "import sys; sys.stdin.read()"
    engine = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, pass_fds=(lock,))
    os.close(lock)  # rlguide is killed
    assert is_training(tmp_path, None)
    with pytest.raises(UsageError, match="still training"), held(tmp_path, "saves/run"):
        pass
    engine.communicate()
    assert not is_training(tmp_path, None)
    with held(tmp_path, "saves/run"), pytest.raises(UsageError, match="still training"), held(tmp_path, "saves/run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_renamed_or_copied_is_where_it_lies(tmp_path: Path) -> None:
    ws = Workspace(tmp_path)
    folder = make_run(tmp_path, "before")
    shutil.copytree(folder, tmp_path / "saves/copy")
    folder.rename(tmp_path / "saves/after")
    for name in ("saves/copy", "saves/after"):
        run = open_run(ws, name)
        assert run.policy.adapters == ("s", name)
        assert run.config["output_dir"] == name
        assert run.reference.adapters == ("s",)


@pytest.mark.parametrize("is_power_cut", [False, True])
def test_a_torn_checkpoint_is_put_aside(tmp_path: Path, is_power_cut: bool) -> None:
    """Killed while saving: the trainer's state, written last, is missing; or the host died: another file has no end."""
    run = make_run(tmp_path, "run")
    for step, state in ((2, '{"global_step": 2}'), (10, None)):
        folder = run / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "b", "r": 8}))
        header = json.dumps({"q.lora_A.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
        (folder / "adapter_model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
        if state or is_power_cut:
            (folder / "trainer_state.json").write_text(state or '{"global_step": 10}')
        with zipfile.ZipFile(folder / "optimizer.pt", "w") as file:
            file.writestr("data", "x" * 100)
        if is_power_cut and not state:
            os.truncate(folder / "optimizer.pt", 100)
    found = last_checkpoint(run)
    assert found is not None
    assert found.name == "checkpoint-2"
    assert (run / "checkpoint-10").is_dir()
    put_damaged_aside(run)
    assert sorted(item.name for item in run.glob("checkpoint-*")) == ["checkpoint-10.incomplete", "checkpoint-2"]
