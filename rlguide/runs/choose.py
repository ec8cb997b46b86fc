"""Which run or checkpoint is meant."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.console import say, warn
from rlguide.errors import CheckpointError, UsageError
from rlguide.policy.base import find_base
from rlguide.policy.checkpoint import Checkpoint, find_checkpoints, locate, read_checkpoint
from rlguide.policy.merge_fingerprint import PROMPT_KEYS, merged_prompt_keys
from rlguide.policy.policy import Policy, check_policy, starting_point
from rlguide.policy.run_record import RUN_FILE
from rlguide.policy.run_state import can_be_resumed
from rlguide.policy.template import template_for
from rlguide.runs.authority import check_trusted, settled_cache
from rlguide.runs.best import at_step, loadable_steps, step_meant
from rlguide.runs.record import Run, find_runs, open_run
from rlguide.workspace import Workspace

# Keys of a run's config that change how its model is loaded or its prompts are written.
_MODEL_KEYS = (
    *("model_revision", "cache_dir", "rope_scaling", "flash_attn"),
    *("quantization_bit", "quantization_method", "quantization_type", "double_quantization"),
    *("resize_vocab", "add_tokens", "add_special_tokens", "split_special_tokens", "use_fast_tokenizer"),
    *PROMPT_KEYS,
)


_NO_POLICY = "is a reward model"  # why a run is not one to chat with
_TRAINED_BY = "rlguide train --sft-ckpt latest"  # what makes a run of a policy


@dataclass(frozen=True)
class Partner:
    """The policy to chat with or to merge, the keys that load it, and a line that says what it is."""

    policy: Policy
    args: dict[str, Any]
    title: str


@dataclass(frozen=True)
class ModelRequest:
    """Which model is meant.

    Attributes:
        name: a run or a checkpoint; None with no `base` either: the newest usable run.
        step, last: of a run, the checkpoint of this step, or its end; its best step by default.
        trust_remote_code: whether code that comes with the base model may run; no file decides that.
    """

    name: str | None = None
    base: str | None = None
    template: str | None = None
    sft: bool = False
    trust_base: bool = False
    trust_remote_code: bool = False
    step: int | None = None
    last: bool = False

    @property
    def names_step(self) -> bool:
        """Whether it says which step of a run is meant."""
        return self.step is not None or self.last


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
    step = ""
    run = run_meant(ws, wanted)
    if run is not None:
        check_trusted(run, wanted.trust_remote_code)
        policy, roles, step = _of_run(ws, run, wanted)
        extra, notes = model_keys(ws, run.config)
    elif wanted.name is not None:
        checkpoint = read_checkpoint(locate(ws, wanted.name), ws)
        start = starting_point(ws, checkpoint, wanted.base, wanted.trust_base)
        extra, notes = model_keys(ws, checkpoint.record.config or {})  # of the run that it belongs to
        if wanted.base is not None:
            extra.pop("model_revision", None)
        policy, notes = start.reference, [*start.notes, *notes]
        roles = _stages(ws, policy)
    else:
        policy, roles = Policy(str(wanted.base)), []
    if not policy.adapters:
        extra = {**extra, **merged_prompt_keys(locate(ws, policy.base))}
    if wanted.trust_remote_code:
        extra["trust_remote_code"] = True
    notes += [note for note in check_policy(ws, policy) if note not in notes]
    if step:  # after all checks, so that an error has two lines
        say(f"step       {step}")
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


def model_keys(ws: Workspace, config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The keys with which a run loaded its model and wrote its prompts, and what of them is not used, in sentences.

    Whatever loads the policy needs them: with another system prompt or revision it would be another model.
    """
    keys = {key: config[key] for key in _MODEL_KEYS if config.get(key) is not None}
    if unused := settled_cache(ws, config):
        del keys["cache_dir"]
        return keys, [unused]
    return keys, []


def run_meant(ws: Workspace, wanted: ModelRequest) -> Run | None:
    """The run that is meant, or None if a plain checkpoint or a base is."""
    if wanted.name is None:
        if wanted.base is None:
            return newest_usable(ws, _has_what_is_wanted(ws, wanted.sft))
        _check_of_run(wanted, "--base alone is no run")
        return None
    path = locate(ws, wanted.name)
    if not (path / RUN_FILE).is_file():
        _check_of_run(wanted, f"{wanted.name} has no {RUN_FILE}")
        return None
    if wanted.base is not None:
        raise UsageError(f"{wanted.name} is a run and knows its base", "remove --base")
    return open_run(ws, wanted.name)


def _check_of_run(wanted: ModelRequest, why: str) -> None:
    """Refuse the options that belong to a run. Raises UsageError."""
    option = "--sft" if wanted.sft else "--last" if wanted.last else "--step"
    if wanted.sft or wanted.names_step:
        raise UsageError(f"{option} belongs to a run, and {why}", f"name the run, or remove {option}")


def usable_run(ws: Workspace, name: str | None, needs: Callable[[Run], str], trained_by: str = _TRAINED_BY) -> Run:
    """The finished run of that name, else the newest one that can be used.

    Args:
        needs: why a finished run is of no use, "" if it is not; only asked where no name is given.
        trained_by: the command that trains one.

    Raises:
        UsageError: there is none, or it is not finished.
        DataError: its record is damaged.
    """
    if name is None:
        return newest_usable(ws, needs, trained_by)
    run = open_run(ws, name)
    if run.status != "finished":
        raise unfinished(ws, run)
    return run


def resumable_run(ws: Workspace, name: str | None) -> Run:
    """The run of that name, else the newest one that can be resumed; says which, and what was passed over.

    Raises:
        UsageError: there is none, or it is finished or still training.
        DataError: its record is damaged.
    """
    if name is not None:
        run = open_run(ws, name)
        if not can_be_resumed(run.status):
            raise UsageError(f"{run.name} is {_in_state(run)}", run.next_step)
        return run
    newest = open_run(ws)
    passed: list[str] = []
    for run in find_runs(ws):
        if can_be_resumed(run.status):
            newer = "".join(f"; {said}" for said in passed)
            say(f"resuming {run.name} (the newest run that can be resumed{newer})")
            return run
        passed.append(f"{run.name} is {_in_state(run)}")
    raise UsageError(f"no run under {ws.saves} can be resumed: {passed[0]}", newest.next_step)


def _in_state(run: Run) -> str:
    job = run.slurm_job if run.status in ("queued", "unknown") else None
    if job is not None:
        return f"{run.status}: it {job.words}"
    return "still training" if run.status == "running" else run.status


def newest_usable(ws: Workspace, needs: Callable[[Run], str], trained_by: str = _TRAINED_BY) -> Run:
    """The newest run for which `needs` gives no reason against it; says which, and what was passed over.

    Runs that came to their end go before those that did not. Raises UsageError if there is none.
    """
    runs = find_runs(ws)
    newest = runs[0] if runs else open_run(ws)  # which says that there is none
    reasons: dict[str, str] = {}
    for run in sorted(runs, key=lambda run: run.status != "finished"):
        why = needs(run)
        if not why:
            newer = runs[: runs.index(run)]
            passed = [f"; {item.name} {reasons.get(item.name) or f'is {item.status}'}" for item in newer]
            say(f"using {run.name} (the newest usable run{''.join(passed)})")
            return run
        reasons[run.name] = why
    if newest.status != "finished" and reasons[newest.name] != _NO_POLICY:
        raise unfinished(ws, newest)
    raise UsageError(
        f"no run under {ws.saves} can be used: {newest.name} {reasons[newest.name]}",
        f"train one with `{trained_by}`, or name another run",
    )


def is_reward_model(run: Run) -> bool:
    """Whether a run trains something that scores responses and does not write them."""
    return run.method is not None and run.method.trains != "policy"


def why_no_result(ws: Workspace, run: Run) -> str:
    """Why a run has left no model of its own: it is not finished, or it trained nothing; "" if it has."""
    if run.status != "finished":
        return "is still training" if run.status == "running" else f"is {run.status}"
    if run.config.get("do_train") is False:
        return "trained nothing (do_train: false)"
    try:
        checkpoint = read_checkpoint(run.path, ws)
    except CheckpointError as error:
        return f"has no usable weights: {error.what}"
    return "trained nothing (0 steps)" if checkpoint.step == 0 else ""


def why_no_policy(ws: Workspace, run: Run) -> str:
    """Why a run has left no policy of its own: it trained a reward model, or `why_no_result`; "" if it has."""
    return _NO_POLICY if is_reward_model(run) else why_no_result(ws, run)


def unfinished(ws: Workspace, run: Run) -> UsageError:
    """What to say of a run that is not finished, and what can be done with it now."""
    name, complete = shlex.quote(run.name), _complete_checkpoints(ws, run)
    yet = "" if complete else " and has no checkpoint yet"
    if complete and not is_reward_model(run):
        now = f"chat with its last checkpoint: `rlguide chat {shlex.quote(complete[0].name)}`"
    else:
        now = f"chat with the model it started from: `rlguide chat {name} --sft`"
    if run.status == "running":
        return UsageError(f"the run {run.name} is still training{yet}", f"wait for its end, or {now}")
    return UsageError(f"the run {run.name} is {run.status}{yet}", f"{run.next_step}, or {now}")


def _has_what_is_wanted(ws: Workspace, sft: bool) -> Callable[[Run], str]:
    """For chat and export: a policy, or where no run has one, a checkpoint; with --sft any run has what is wanted."""

    def why_not(run: Run) -> str:
        if run.status != "finished" and not is_reward_model(run) and (sft or _complete_checkpoints(ws, run)):
            return ""
        return why_no_policy(ws, run)

    return why_not


def _complete_checkpoints(ws: Workspace, run: Run) -> list[Checkpoint]:
    """Those inside a run that can be loaded, the newest first."""
    return [item for item in find_checkpoints(ws, run.path) if item.is_complete and item.path != run.path]


def _of_run(ws: Workspace, run: Run, wanted: ModelRequest) -> tuple[Policy, list[str], str]:
    """The policy that a run trained, at the step that is meant, or the one it started from; and that step in words."""
    if wanted.sft:
        if wanted.names_step:
            raise UsageError("--sft is the model before the first step", "leave --step and --last out, or --sft")
        return run.reference, _stages(ws, run.reference), ""
    if is_reward_model(run):
        raise UsageError(
            f"{run.name} is a reward model: it scores responses, it does not write them", "name the run of a policy"
        )
    if run.status != "finished" and not loadable_steps(run):
        raise unfinished(ws, run)
    meant = step_meant(run, wanted.step, wanted.last)
    if run.status != "finished":
        warn(f"the run is {run.status}")
    policy = at_step(run, meant).policy
    return policy, _stages(ws, policy), meant.words


def _stages(ws: Workspace, policy: Policy) -> list[str]:
    """What each adapter is, in a word: "sft", or the method of the run that made it."""
    parts = [read_checkpoint(locate(ws, adapter), ws) for adapter in policy.adapters]
    return [part.record.method or part.stage for part in parts]
