"""The checkpoints of a run: which are whole."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from rlguide.catalog.methods import recorded_method
from rlguide.console import warn
from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.runs.record import Run


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None if there is none."""
    complete = [path for path in list_checkpoints(folder) if _is_whole(path)]
    return complete[-1] if complete else None


def put_damaged_aside(folder: Path) -> None:
    """Rename checkpoints that were being saved when the run was killed, so that the engine does not take them."""
    for path in list_checkpoints(folder):
        if not _is_whole(path):
            aside = path.with_name(path.name + ".incomplete")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warn(f"{path.name} is incomplete (the run was stopped while saving); it is now {aside.name}")


def list_checkpoints(folder: Path) -> list[Path]:
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: int(path.name.partition("-")[2]))


def _is_whole(path: Path) -> bool:
    try:
        json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))  # Trainer writes it last
        read_checkpoint(path)
    except (OSError, ValueError, CheckpointError):
        return False
    return True


def is_complete(run: Run) -> bool:
    """Whether the engine came to the end: all steps done and the final state saved."""
    try:
        state = json.loads((run.path / "trainer_state.json").read_text(encoding="utf-8"))
        done = int(state["global_step"]) >= int(state["max_steps"]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        return False
    method = recorded_method(run.values.get("method"))
    last = method.last_file if method is not None else "train_results.json"
    return done and (run.path / last).is_file()
