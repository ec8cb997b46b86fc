"""The checkpoints of a run: which are complete."""

from __future__ import annotations

import shutil
from pathlib import Path

from rlguide.console import warn
from rlguide.errors import CheckpointError, DataError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.policy.run_record import CHECKPOINT_NAME
from rlguide.policy.trained_on import STATE
from rlguide.runs.record import Run
from rlguide.workspace import read_json, write_json


def last_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, None if there is none."""
    complete = [path for path in list_checkpoints(folder) if _is_complete(path)]
    return complete[-1] if complete else None


def resumable_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint to resume from, None if there is none.

    One that early stopping has saved as its last is left out: the Trainer would go on past the stop.
    """
    complete = [path for path in list_checkpoints(folder) if _is_complete(path) and not stopped_early(path)]
    return complete[-1] if complete else None


def put_damaged_aside(folder: Path) -> None:
    """Rename checkpoints that were being saved when the run was killed, so that the engine does not load them."""
    for path in list_checkpoints(folder):
        if not _is_complete(path):
            aside = path.with_name(path.name + ".incomplete")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warn(f"{path.name} is incomplete (the run was stopped while saving); it is now {aside.name}")


def put_aside_after(folder: Path, step: int) -> None:
    """Rename checkpoints of later steps than this one, whose weights are not worth to go on from."""
    for path in list_checkpoints(folder):
        if step_of(path) > step:
            aside = path.with_name(path.name + ".broken")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warn(f"{path.name} holds weights that are not numbers; it is now {aside.name}")


def list_checkpoints(folder: Path) -> list[Path]:
    """The `checkpoint-N` folders of a run, complete or not, by their step."""
    found = [path for path in folder.glob("checkpoint-*") if CHECKPOINT_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(checkpoint: Path) -> int:
    """The step of a `checkpoint-N` folder."""
    return int(checkpoint.name.partition("-")[2])


def set_micro_batch(checkpoint: Path, size: int) -> None:
    """Let a checkpoint be resumed from with micro-batches of `size` rows.

    transformers 4.57 takes their size from the checkpoint and their number from the config (Trainer.train; its issue
    43708, mended in 5), so that after a change an update would have other rows than planned.
    """
    state = read_json(checkpoint / STATE)
    if isinstance(state, dict) and state.get("train_batch_size") not in (None, size):
        write_json(checkpoint / STATE, {**state, "train_batch_size": size})


def _is_complete(path: Path) -> bool:
    try:
        read_json(path / STATE)  # Trainer writes it last
        read_checkpoint(path)
    except (DataError, CheckpointError):
        return False
    return all(map(_is_whole, (*path.rglob("*.pt"), *path.rglob("*.pth"))))


def _is_whole(saved: Path) -> bool:
    """Whether a file of torch.save has its end: it is a ZIP archive, whose directory comes last. It is not loaded."""
    import zipfile

    return zipfile.is_zipfile(saved)


def is_complete(run: Run) -> bool:
    """Whether the engine came to the end: all steps done, or stopped early, and the final state saved."""
    last = run.method.last_file if run.method is not None else "train_results.json"
    is_done = (steps_done(run.path) or 0) > 0 and (_all_steps(run.path) or stopped_early(run.path))
    return is_done and (run.path / last).is_file()


def steps_done(folder: Path) -> int | None:
    """The optimizer steps that the trainer's state in a folder counts; None without one."""
    return _step(folder, "global_step")


def stopped_early(folder: Path) -> bool:
    """Whether the state in a folder was saved as `early_stopping_steps` ended the training."""
    try:
        control = read_json(folder / STATE)["stateful_callbacks"]["TrainerControl"]["args"]
        return control["should_training_stop"] is True and not _all_steps(folder)
    except (DataError, KeyError, TypeError):
        return False


def _all_steps(folder: Path) -> bool:
    done, total = _step(folder, "global_step"), _step(folder, "max_steps")
    return done is not None and total is not None and done >= total > 0


def _step(folder: Path, key: str) -> int | None:
    try:
        return int(read_json(folder / STATE)[key])
    except (DataError, ValueError, KeyError, TypeError, OverflowError):
        return None
