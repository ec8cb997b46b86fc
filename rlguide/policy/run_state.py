"""What state a run is in, and what can be done with it now: the one address of such advice."""

from __future__ import annotations

import shlex
from pathlib import Path

from rlguide.catalog.methods import recorded_method
from rlguide.engine.running import how_to_watch, is_training
from rlguide.policy.run_record import RunRecord


def state_of(folder: Path, record: RunRecord) -> str:
    """ "running", "finished", "failed" or "interrupted"; a run whose process is gone was interrupted."""
    is_gone = record.status in ("prepared", "running") and not is_training(folder, record.pid)
    return "interrupted" if is_gone else str(record.status)


def can_be_resumed(state: str) -> bool:
    """Whether a run in this state has something left to train, and nothing that trains it."""
    return state not in ("finished", "running")


def resume_command(name: str) -> str:
    """The command that resumes the run of this name."""
    return f"rlguide train --resume {shlex.quote(name)}"


def next_step(folder: Path, name: str, record: RunRecord) -> str:
    """What can be done with a run in its state, as a `fix:` says it.

    Args:
        folder: where it lies.
        name: how it is typed from the workspace.
    """
    state = state_of(folder, record)
    if state == "running":
        return f"wait for its end; {how_to_watch(folder)}"
    if can_be_resumed(state):
        return f"resume it: `{resume_command(name)}`"
    method = recorded_method(record.method)
    if method is not None and method.trains != "policy":
        return f"use it: `rlguide train --method ppo --reward-model {shlex.quote(name)}`"
    if method is not None and method.from_base:
        return f"train on preferences on top of it: `rlguide train --sft-ckpt {shlex.quote(name)}`"
    return f"train another round on it: `rlguide train --from {shlex.quote(name)}`"
