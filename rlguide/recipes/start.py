"""Where a training starts: the checkpoint, read once, and with it the reference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.console import say
from rlguide.engine.config_file import format_value, load_config
from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.policy.checkpoint import Checkpoint, locate, read_checkpoint, resolve_checkpoint
from rlguide.policy.merge import default_folder, merged_base
from rlguide.policy.merge_fingerprint import PROMPT_KEYS
from rlguide.policy.policy import StartingPoint, base_start, starting_point
from rlguide.policy.run_record import CHECKPOINT_NAME, RUN_CONFIG, RUN_FILE, record_of
from rlguide.policy.run_state import next_step, state_of
from rlguide.recipes.options import TrainingOptions
from rlguide.workspace import Workspace


def find_start(ws: Workspace, method: Method, options: TrainingOptions) -> StartingPoint:
    """The checkpoint to start from; for another round, a finished run with its whole stack; for SFT, a base model.

    Raises:
        UsageError, CheckpointError: there is none, or it does not fit.
    """
    if method.from_base and options.from_run is None and options.sft_ckpt is None:
        if options.base is None:
            raise UsageError(
                f"{method.name} starts from a base model, and none is named",
                "name it: --base Qwen/Qwen3-4B-Base, or its folder; to go on from a checkpoint: --sft-ckpt latest",
            )
        start = base_start(ws, options.base)
    else:
        if options.from_run is None:
            checkpoint = resolve_checkpoint(ws, options.sft_ckpt or "latest")
        else:
            checkpoint = _finished_run(ws, options.from_run)
        start = starting_point(ws, checkpoint, options.base, options.trust_base)
    if options.template is None:
        return start
    return replace(start, reference=replace(start.reference, template=options.template))


def _finished_run(ws: Workspace, name: str) -> Checkpoint:
    path = locate(ws, name)
    record = record_of(path)  # before the rest: a run that was stopped may hold no checkpoint yet
    if record is None:
        raise UsageError(
            f"{name} is not a run of rlguide: it has no run.json", "a plain checkpoint goes with --sft-ckpt"
        )
    if record.status != "finished" and (path / RUN_FILE).exists():
        raise UsageError(f"the run {name} is not finished", next_step(name, record, state_of(path, record)))
    return read_checkpoint(path, ws)


def other_prompts(start: StartingPoint, config: Mapping[str, Any]) -> list[str]:
    """A sentence for each key with which the run below writes its prompts, and this training does not.

    Raises:
        DataError: the config of that run is damaged.
    """
    if start.checkpoint is None:
        return []
    folder = start.checkpoint.path
    if CHECKPOINT_NAME.fullmatch(folder.name) and not (folder / RUN_FILE).is_file():
        folder = folder.parent
    is_run = (folder / RUN_FILE).is_file() and (folder / RUN_CONFIG).is_file()
    below = load_config(folder / RUN_CONFIG) if is_run else {}
    return [
        f"{start.checkpoint.name} was trained with {key}: {format_value(below[key])}, and this is not: to train on the"
        f" same prompts, add --set {shlex.quote(f'{key}={below[key]}')}"
        for key, kind in PROMPT_KEYS.items()
        if isinstance(below.get(key), kind) and config.get(key) != below[key]
    ]


def merged_start(ws: Workspace, engine: Engine, start: StartingPoint, cause: str, dry_run: bool) -> StartingPoint:
    """The same start as one merged model, for what cannot stack adapters: quantized base, ZeRO-3, unsloth (`cause`).

    There LLaMA-Factory would resume the SFT adapter and silently compare with the base, or fail an assertion
    (model/adapter.py). With the new adapter switched off, the merged model is the SFT policy, as it must be. One that
    is there already is used again.

    Raises:
        EngineError: merging failed. UsageError: in a dry run, which cannot merge.
    """
    if dry_run and not default_folder(ws, start.reference).is_dir():
        raise UsageError(
            f"with {cause} the SFT stack is merged into one model first, which a dry run does not do",
            f"leave --dry-run out, or merge it now: rlguide export {shlex.quote(start.reference.adapters[-1])}",
        )
    say(f"{cause} cannot stack adapters, so {start.reference.describe()} is merged into one model first:")
    say("the reference is that model, with the new adapter switched off")
    merged = starting_point(ws, read_checkpoint(locate(ws, merged_base(ws, engine, start.reference)), ws))
    return replace(merged, reference=replace(merged.reference, template=start.reference.template))
