"""The checkpoints of a run: which are complete."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlguide.console import warn
from rlguide.errors import CheckpointError, DataError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.run_record import CHECKPOINT_NAME
from rlguide.runs.record import Run
from rlguide.workspace import read_json


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None if there is none."""
    complete = [path for path in list_checkpoints(folder) if _is_complete(path)]
    return complete[-1] if complete else None


def put_damaged_aside(folder: Path) -> None:
    """Rename checkpoints that were being saved when the run was killed, so that the engine does not load them."""
    for path in list_checkpoints(folder):
        if not _is_complete(path):
            aside = path.with_name(path.name + ".incomplete")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warn(f"{path.name} is incomplete (the run was stopped while saving); it is now {aside.name}")


def list_checkpoints(folder: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run, complete or not, by their step."""
    found = [path for path in folder.glob("checkpoint-*") if CHECKPOINT_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step of a `checkpoint-N` folder."""
    return int(checkpoint.name.partition("-")[2])


def _is_complete(path: Path) -> bool:
    try:
        read_json(path / "trainer_state.json")  # Trainer writes it last
        read_checkpoint(path)
    except (DataError, CheckpointError):
        return False
    return True


def is_complete(run: Run) -> bool:
    """Whether the engine came to the end: all steps done and the final state saved."""
    try:
        state = read_json(run.path / "trainer_state.json")
        done = int(state["global_step"]) >= int(state["max_steps"]) > 0
    except (DataError, ValueError, KeyError, TypeError, OverflowError):
        return False
    last = run.method.last_file if run.method is not None else "train_results.json"
    return done and (run.path / last).is_file()
