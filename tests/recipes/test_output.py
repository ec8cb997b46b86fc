"""A run writes in a folder of its own: nothing that it reads, and nothing that is not a run, is overwritten."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.errors import UsageError
from rlguide.policy.checkpoint import locate
from rlguide.recipes.data import TrainingData
from rlguide.recipes.output import check_output, next_name
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model

SFT = "saves/tiny/lora/sft/checkpoint-20"


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    ws = Workspace(tmp_path / "工作区")
    write_model(ws.root / "models/tiny")
    write_lora(ws.root / SFT)
    write_lora(ws.saves / "tiny/lora/rm")
    ws.data.mkdir()
    (ws.data / "pairs.json").write_text("[]")
    (ws.root / "link").symlink_to(ws.root / "saves")
    (ws.root / "loop").symlink_to(ws.root / "loop")
    return ws


def check(ws: Workspace, output_dir: str, **keys: Any) -> None:
    config = {
        "model_name_or_path": "models/tiny",
        "adapter_name_or_path": SFT,
        "reward_model": "saves/tiny/lora/rm",
        "output_dir": output_dir,
        **keys,
    }
    check_output(ws, config, TrainingData([], []))


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "output_dir",
    [
        ".",
        "..",
        "saves/..",
        "/",
        "models/tiny",
        "models",
        "models/tiny/dpo",
        SFT,
        "saves/tiny/lora/sft",  # holds the checkpoint
        f"{SFT}/dpo",
        "link/tiny/lora/sft",
        "saves/tiny/lora/rm",
        "data",
        "data/pairs",
        "data/pairs.json",
        "data/pairs.json/run",
        "loop",
        "loop/run",
        "x" * 300,
        "saves",  # holds what is no run
    ],
)
def test_what_is_not_a_folder_of_its_own_is_refused(ws: Workspace, output_dir: str, overwrite: bool) -> None:
    with pytest.raises(UsageError) as refused:
        check(ws, output_dir, overwrite_output_dir=overwrite)
    assert refused.value.fix


@pytest.mark.parametrize("folder", [".", "..", "nowhere", "ONLINE"])
def test_datasets_anywhere_leave_room_for_runs(ws: Workspace, folder: str) -> None:
    check(ws, "saves/tiny/lora/dpo", dataset_dir=folder)


def test_other_files_stay(ws: Workspace) -> None:
    (ws.root / "notes").mkdir()
    check(ws, "notes")
    (ws.root / "notes/thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"not a run's \(thesis.txt\)"):
        check(ws, "notes", overwrite_output_dir=True)


def test_a_run_is_replaced_only_with_leave(ws: Workspace) -> None:
    run = write_lora(ws.saves / "old")
    (run / "run.json").write_text(json.dumps({"status": "finished"}))
    check(ws, "saves/old", overwrite_output_dir=True)
    with pytest.raises(UsageError, match="already holds a run"):
        check(ws, "saves/old")


def test_a_folder_that_is_trained_in_is_refused(ws: Workspace) -> None:
    run = ws.saves / "new"
    run.mkdir()
    (run / "run.json").write_text("{}")
    with (run / ".training.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="training right now"):
            check(ws, "saves/new", overwrite_output_dir=True)
    check(ws, "saves/new")  # a record or a lock file alone is not a training


@pytest.mark.parametrize("status", ["finished", "interrupted", None])
def test_the_default_folder_counts_on_where_nothing_can_be_resumed(ws: Workspace, status: str | None) -> None:
    run = write_lora(locate(ws, "saves/dpo"))
    if status:
        (run / "run.json").write_text(json.dumps({"status": status}))
    assert next_name(ws, "saves/dpo") == ("saves/dpo" if status == "interrupted" else "saves/dpo-2")
    write_lora(ws.saves / "dpo-2")
    assert next_name(ws, "saves/dpo") == ("saves/dpo" if status == "interrupted" else "saves/dpo-3")
