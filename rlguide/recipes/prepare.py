"""From a checkpoint and datasets to a complete, checked config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, find_method, method_of
from rlguide.console import say
from rlguide.data.store.registered import RegisteredDataset
from rlguide.engine.capabilities import ppo_template
from rlguide.engine.config_file import load_config, split_names
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.installed import engine_for
from rlguide.engine.schema import Schema, load_schema
from rlguide.errors import UsageError
from rlguide.policy.merge import default_folder, merged_base
from rlguide.policy.policy import Policy, cannot_merge
from rlguide.recipes.checks import check_keys, check_method, check_output, check_training
from rlguide.recipes.disk import check_disk
from rlguide.recipes.inputs import (
    check_datasets,
    choose_output_dir,
    choose_template,
    compute_keys,
    data_keys,
    dataset_bytes,
    find_start,
    method_datasets,
    method_keys,
    method_settings,
    only_dataset,
)
from rlguide.recipes.options import Request
from rlguide.recipes.render import Recipe, fill, load_recipe, render
from rlguide.recipes.schedule import Schedule, intervals, processes, schedule
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Prepared:
    """A checked config and what is known about it before the start."""

    method: Method
    config: dict[str, Any]
    text: str
    schedule: Schedule
    reference: Policy
    policy: Policy
    datasets: list[RegisteredDataset]
    held_out: list[RegisteredDataset]
    disk_bytes: int
    notes: list[str]
    template_why: str = "as the config says"

    @property
    def unit(self) -> str:
        """What the rows of its data are called."""
        return {"labels": "answers"}.get(self.method.data, self.method.data)

    @property
    def output_dir(self) -> str:
        """As the config names it."""
        return str(self.config["output_dir"])


def prepare(ws: Workspace, engine: Engine, request: Request, check_output_dir: bool = True) -> Prepared:
    """Render and check a config of a method for a checkpoint.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: the first thing that would go wrong.
    """
    method = find_method(request.method)
    settings = method_settings(method, request)
    recipe = load_recipe(method.name)
    schema = load_schema(engine)
    check_keys(settings, schema, "--set")
    check_method({**fill(recipe, {}), **settings}, engine.versions, "--set")
    gpus = list_gpus()
    start = find_start(ws, request)
    datasets = method_datasets(ws, method, list(request.datasets) or only_dataset(ws, method))
    template = choose_template(ws, request, settings, start, schema)
    values = {
        **start.config,
        **{key: value for key, value in data_keys(datasets).items() if key in recipe.defaults},
        **method_keys(ws, method, datasets, request, start),
        **compute_keys(gpus, sum(item.rows or 0 for item in datasets)),
        "dataset_dir": "data",
        "template": ppo_template(engine.versions, template.name) if method.name == "ppo" else template.name,
        "output_dir": choose_output_dir(ws, request, start),
    }
    config = _with_intervals(recipe, fill(recipe, {**values, **settings}), settings, ws, gpus)
    prepared = _finish(ws, engine, config, schema, gpus, start.reference, "the config", check_output_dir)
    if method.name == "ppo":  # its engine may know the template under another name; the policy keeps its own
        prepared = replace(
            prepared,
            policy=replace(prepared.policy, template=template.name),
            reference=replace(prepared.reference, template=template.name),
        )
    notes = [*start.notes, *[note for note in prepared.notes if note not in start.notes]]
    if not template.is_certain:
        notes.append("the template is a guess; if SFT used another one, say so with --template")
    text = render(recipe, config, _introduction(ws, prepared))
    return replace(prepared, text=text, notes=notes, template_why=template.why)


def prepare_config(
    ws: Workspace, engine: Engine, path: Path, settings: Mapping[str, Any], check_output_dir: bool = True
) -> Prepared:
    """Check a config that a person owns, with `--set` over it; nothing else in it is changed.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: the first thing that would go wrong.
    """
    schema = load_schema(engine)
    config = {**load_config(path), **settings}
    check_keys(settings, schema, "--set")
    reference = Policy(
        str(config.get("model_name_or_path")),
        tuple(split_names(config.get("adapter_name_or_path"))),
        config.get("template"),
    )
    gpus = list_gpus()
    prepared = _finish(ws, engine, config, schema, gpus, reference, str(path), check_output_dir)
    return replace(prepared, text=render(load_recipe(prepared.method.name), config, _introduction(ws, prepared)))


def _finish(
    ws: Workspace,
    engine: Engine,
    config: dict[str, Any],
    schema: Schema,
    gpus: list[Gpu],
    reference: Policy,
    source: str,
    check_output_dir: bool,
) -> Prepared:
    method, notes = check_training(config, schema, engine.versions, ws, gpus, source)
    datasets, held_out = check_datasets(config, ws)
    output_dir = ws.relative(ws.root / str(config["output_dir"]))
    if check_output_dir:
        check_output(ws, output_dir, bool(config.get("overwrite_output_dir")))
    rows, held = sum(item.rows or 0 for item in datasets), sum(item.rows or 0 for item in held_out)
    disk = check_disk(ws, config, sum(dataset_bytes(item) for item in [*datasets, *held_out]))
    if config.get("pref_ftx") and config["pref_ftx"] > 0:
        notes.append(f"pref_ftx {config['pref_ftx']} adds SFT loss: the first loss will be above 0.6931")
    # ref_model set by hand overrides what disabling the adapter would give.
    if config.get("ref_model"):
        reference = Policy(
            str(config["ref_model"]), tuple(split_names(config.get("ref_model_adapters"))), config.get("template")
        )
    stack = tuple(split_names(config.get("adapter_name_or_path")))
    own = (output_dir,) if config.get("finetuning_type", "lora") == "lora" else ()
    resumes = bool(stack) and not config.get("create_new_adapter")
    policy = Policy(
        str(config["model_name_or_path"]) if own else output_dir,
        (() if resumes else stack) + own,
        config.get("template"),
    )
    count = schedule(config, rows, held, processes(config, gpus, os.environ))
    return Prepared(method, config, "", count, reference, policy, datasets, held_out, disk, notes)


def _with_intervals(
    recipe: Recipe, config: dict[str, Any], settings: Mapping[str, Any], ws: Workspace, gpus: list[Gpu]
) -> dict[str, Any]:
    datasets, held_out = check_datasets(config, ws)
    rows, held = sum(item.rows or 0 for item in datasets), sum(item.rows or 0 for item in held_out)
    count = schedule(config, rows, held, processes(config, gpus, os.environ))
    values: dict[str, Any] = intervals(count.total_steps)
    if "eval_strategy" not in recipe.defaults:  # PPO does not evaluate
        values.pop("eval_steps")
        return fill(recipe, {**config, **values, **settings})
    values["eval_strategy"] = "steps" if count.held_out else "no"
    if not count.held_out:
        values["eval_steps"] = None
    return fill(recipe, {**config, **values, **settings})


def _introduction(ws: Workspace, prepared: Prepared) -> list[str]:
    start = "Reference" if prepared.method.has_reference else "Start"
    name = f"configs/{prepared.method.name}_config.yaml"
    return [
        f"{prepared.method.title}. {start}: {prepared.reference.describe()}. Result: {prepared.policy.describe()}.",
        prepared.schedule.describe(prepared.unit) + ".",
        "This file is yours. Paths are relative to the workspace folder; run it there with",
        f"    rlguide train --config {name}",
        f"or  llamafactory-cli train {name}",
    ]


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
