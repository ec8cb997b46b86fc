"""Which run or checkpoint is meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlguide.console import say, warn
from rlguide.errors import UsageError
from rlguide.policy.base import find_base
from rlguide.policy.checkpoint import find_checkpoints, locate, read_checkpoint
from rlguide.policy.policy import Policy, check_policy, starting_point
from rlguide.policy.run_record import RUN_FILE
from rlguide.policy.template import template_for
from rlguide.runs.record import Run, open_run
from rlguide.workspace import Workspace

# Keys of a run's config that change how its model is loaded or its prompts are written.
_MODEL_KEYS = (
    *("trust_remote_code", "model_revision", "quantization_bit", "cache_dir", "rope_scaling", "flash_attn"),
    *("resize_vocab", "add_tokens", "add_special_tokens", "split_special_tokens", "use_fast_tokenizer"),
    *("default_system", "tool_format", "enable_thinking"),
)


@dataclass(frozen=True)
class Partner:
    """The policy to chat with or to merge, the keys that load it, and a line that says what it is."""

    policy: Policy
    args: dict[str, Any]
    title: str


@dataclass(frozen=True)
class ModelRequest:
    """Which model is meant. `name`: a run or a checkpoint; None with no `base` either: the newest finished run."""

    name: str | None = None
    base: str | None = None
    template: str | None = None
    sft: bool = False
    trust_base: bool = False


def choose_partner(ws: Workspace, wanted: ModelRequest, find_templates: Callable[[], dict[str, str]]) -> Partner:
    """Find the policy that is meant and check that all of its parts exist.

    Args:
        find_templates: gives the engine's table from model name to template; only called if none is on record.

    Raises:
        UsageError: no such run, or the template cannot be determined.
        CheckpointError: a part of the stack is missing or damaged.
    """
    extra: dict[str, Any] = {}
    notes: list[str] = []
    run = run_meant(ws, wanted)
    if run is not None:
        policy, roles = _of_run(ws, run, wanted)
        extra = {key: run.config[key] for key in _MODEL_KEYS if run.config.get(key) is not None}
    elif wanted.name is not None:
        checkpoint = read_checkpoint(locate(ws, wanted.name), ws)
        start = starting_point(ws, checkpoint, wanted.base, wanted.trust_base)
        policy, notes = start.reference, list(start.notes)
        roles = _stages(ws, policy)
    else:
        policy, roles = Policy(str(wanted.base)), []
    notes += [note for note in check_policy(ws, policy) if note not in notes]
    for note in notes:
        warn(note)
    template = wanted.template or policy.template
    if template is None:
        base = find_base(ws, policy.base)
        guess = template_for(policy.base, find_templates(), base.config)
        say(f"template {guess.name}: {guess.why}")
        template = guess.name
    policy = Policy(policy.base, policy.adapters, template)
    title = " + ".join(["base", *roles]) + f" ({policy.describe()}), template {template}"
    return Partner(policy, {**extra, **policy.model_config()}, title)


def run_meant(ws: Workspace, wanted: ModelRequest) -> Run | None:
    """The run that is meant, or None if a plain checkpoint or a base is."""
    if wanted.name is None:
        if wanted.base is None:
            return open_run(ws, finished=True)
        if wanted.sft:
            raise UsageError("--sft belongs to a run, not to --base alone", "name the run, or remove --sft")
        return None
    path = locate(ws, wanted.name)
    if not (path / RUN_FILE).is_file():
        if wanted.sft:
            raise UsageError(f"--sft belongs to a run, and {wanted.name} has no {RUN_FILE}", "remove --sft")
        return None
    if wanted.base is not None:
        raise UsageError(f"{wanted.name} is a run and knows its base", "remove --base")
    return open_run(ws, wanted.name)


def _of_run(ws: Workspace, run: Run, wanted: ModelRequest) -> tuple[Policy, list[str]]:
    """The policy that a run trained, or the one it started from; of an unfinished run, its last checkpoint."""
    if wanted.sft:
        return run.reference, _stages(ws, run.reference)
    if run.status != "finished":
        complete = [item for item in find_checkpoints(ws, run.path) if item.is_complete and item.path != run.path]
        if not complete:
            raise UsageError(
                f"the run {run.name} is {run.status} and has no checkpoint yet",
                f"resume it with `rlguide train --resume {run.name}`, or chat with --sft",
            )
        warn(f"the run is {run.status}; this is its {complete[0].path.name}")
        policy = starting_point(ws, complete[0], trust_base=True).reference
        return policy, _stages(ws, policy)
    return run.policy, _stages(ws, run.policy)


def _stages(ws: Workspace, policy: Policy) -> list[str]:
    """What each adapter is, in a word: "sft", or the method of the run that made it."""
    parts = [read_checkpoint(locate(ws, adapter), ws) for adapter in policy.adapters]
    return [part.record.method or part.stage for part in parts]
