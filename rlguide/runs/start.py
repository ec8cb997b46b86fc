"""Prepare a training from wherever it starts, merging first where the engine cannot stack adapters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rlguide.catalog.methods import find_method, method_of
from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.engine.install import engine_for
from rlguide.errors import UsageError
from rlguide.policy.policy import cannot_merge
from rlguide.recipes.config_file import load_config
from rlguide.recipes.configure import Prepared, Request, find_start, prepare
from rlguide.runs.export import default_folder, merged_base
from rlguide.workspace import Workspace


def choose_engine(main: Engine, request: Request, config: Path | None = None) -> Engine:
    """The engine that can train what is asked for: `main`, or for PPO the one that rlguide has installed.

    Raises:
        EngineError: none can; the message says what to install.
        UsageError, DataError: no such method, or a config that cannot be read.
    """
    if config is None:
        method = find_method(request.method)
        loss = request.settings.get("pref_loss", request.loss)
        return engine_for(main, method.name, loss if len(method.losses) > 1 else None)
    values = load_config(config)
    method_there = method_of(str(values.get("stage")), values.get("pref_loss"))
    return engine_for(main, "ppo") if method_there and method_there.name == "ppo" else main


def prepare_start(ws: Workspace, engine: Engine, request: Request, dry_run: bool = False) -> Prepared:
    """`prepare`, from a merged base if the request cannot stack adapters: quantized base, ZeRO-3, unsloth.

    There LLaMA-Factory would resume the SFT adapter and silently compare with the base, or fail an assertion
    (model/adapter.py). The SFT stack is merged into one model first (used again if it is there already); with the
    new adapter switched off, that model is the SFT policy, as it must be.

    Raises:
        as `prepare`; EngineError if merging fails; UsageError in a dry run, which cannot merge.
    """
    cause = cannot_merge(request.settings)
    start = find_start(ws, request) if cause else None
    if start is None or not start.reference.adapters:
        return prepare(ws, engine, request)
    if dry_run and not default_folder(ws, start.reference).is_dir():
        raise UsageError(
            f"with {cause} the SFT stack is merged into one model first, which a dry run does not do",
            f"leave --dry-run out, or merge it now: rlguide export {ws.relative(start.checkpoint.path)}",
        )
    say(f"{cause} cannot stack adapters, so {start.reference.describe()} is merged into one model first:")
    say("the reference is that model, with the new adapter switched off")
    template = request.template or start.reference.template
    merged = merged_base(ws, engine, replace(start.reference, template=template))
    return prepare(ws, engine, replace(request, sft_ckpt=merged, from_run=None, base=None, template=template))
