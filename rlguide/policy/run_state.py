"""What state a run is in, and what can be done with it now: the one address of such advice."""

from __future__ import annotations

import shlex
from pathlib import Path

from rlguide.catalog.methods import recorded_method
from rlguide.engine.running import how_to_watch, is_training
from rlguide.policy.run_record import RunRecord


def state_of(folder: Path, record: RunRecord) -> str:
    """ "running", also before its engine has started; "finished", "failed" or "interrupted", also by a process gone."""
    if not record.is_open:
        return str(record.status)
    return "running" if is_training(folder, record.pid) else "interrupted"


def can_be_resumed(state: str) -> bool:
    """Whether a run in this state has something left to train, and nothing that trains it, or is going to."""
    return state not in ("finished", "running", "queued", "unknown")


def resume_command(name: str, with_less_memory: bool = False) -> str:
    """The command that resumes the run of this name; with a setting that needs less memory after it ran out."""
    command = f"rlguide train --resume {shlex.quote(name)}"
    return f"{command} --auto-retry" if with_less_memory else command


def replay_command(name: str) -> str:
    """The command that does the run of this name again in a new folder; `--set KEY=VALUE` behind it changes a key."""
    return f"rlguide train --replay {shlex.quote(name)}"


def ppo_command(name: str, record: RunRecord) -> str:
    """The command that trains by PPO with a finished reward model, on the policy and the data that it was trained on.

    "" for one that is a full model: beside the policy, PPO loads an adapter (`reward_model_type: lora`).
    """
    if not record.stack:
        return ""
    words = ["rlguide", "train", "--method", "ppo"]
    options = {
        "--sft-ckpt": (record.base, *record.stack)[-2],
        "--template": record.template,  # a plain SFT checkpoint does not say it
        "--reward-model": name,
        "--dataset": (record.config or {}).get("dataset"),
    }
    return shlex.join([*words, *(word for option, value in options.items() if value for word in (option, str(value)))])


def next_step(name: str, record: RunRecord, state: str) -> str:
    """What can be done with a run in this state, as a `fix:` says it.

    Args:
        name: how it is typed from the workspace.
        state: as `state_of` says it; or, of one that trains in a Slurm job, "queued" or, where Slurm does not answer,
            "unknown".
    """
    if state == "unknown":
        return "try again when `squeue` answers"
    if state == "queued":
        return f"wait for its turn; {how_to_watch(name)}; or take it back: `rlguide stop {shlex.quote(name)}`"
    if state == "running":
        return f"wait for its end; {how_to_watch(name)}"
    if can_be_resumed(state):
        is_out_of_memory = bool((record.failure or {}).get("memory"))
        return f"resume it{' with less memory' * is_out_of_memory}: `{resume_command(name, is_out_of_memory)}`"
    method = recorded_method(record.method)
    if method is not None and method.trains != "policy":
        command = ppo_command(name, record)
        return f"use it: `{command}`" if command else f"evaluate it: `rlguide eval {shlex.quote(name)}`"
    if method is not None and method.from_base:
        return f"train on preferences on top of it: `rlguide train --sft-ckpt {shlex.quote(name)}`"
    return f"train another round on it: `rlguide train --from {shlex.quote(name)}`"
