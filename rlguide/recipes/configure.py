"""From a checkpoint and datasets to a complete, checked config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.schema import Schema, load_schema
from rlguide.errors import UsageError
from rlguide.policy.base import find_base, model_name
from rlguide.policy.checkpoint import resolve_checkpoint
from rlguide.policy.policy import Policy, StartingPoint, starting_point
from rlguide.policy.template import TemplateGuess, template_for
from rlguide.preferences.registry import RegisteredDataset, check_registered, read_registry
from rlguide.recipes.check import (
    check_datasets,
    check_disk,
    check_keys,
    check_output,
    check_training,
    processes,
    split_names,
)
from rlguide.recipes.config_file import load_config
from rlguide.recipes.render import fill, load_recipe, render
from rlguide.recipes.schedule import Schedule, intervals, schedule
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line. None: choose well."""

    sft_ckpt: str = "latest"
    datasets: tuple[str, ...] = ()
    base: str | None = None
    template: str | None = None
    output_dir: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trust_base: bool = False


@dataclass(frozen=True)
class Prepared:
    """A checked config and what is known about it before the start."""

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
    def output_dir(self) -> str:
        """As the config names it."""
        return str(self.config["output_dir"])


def prepare(ws: Workspace, engine: Engine, request: Request, check_output_dir: bool = True) -> Prepared:
    """Render and check a DPO config for a checkpoint.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: the first thing that would go wrong.
    """
    schema = load_schema(engine)
    settings = dict(request.settings)
    check_keys(settings, schema, "--set")
    gpus = list_gpus()
    start = starting_point(ws, resolve_checkpoint(ws, request.sft_ckpt), request.base, request.trust_base)
    names = list(request.datasets) or _only_dataset(ws)
    datasets = check_registered(ws, names)
    template = _template(ws, request, settings, start, schema)
    values = {
        **start.config,
        **_data_keys(datasets),
        **compute_keys(gpus, sum(item.rows or 0 for item in datasets)),
        "dataset_dir": "data",
        "template": template.name,
        "output_dir": _output_dir(ws, request, start),
    }
    recipe = load_recipe("dpo")
    config = _with_intervals(fill(recipe, {**values, **settings}), settings, ws, gpus)
    prepared = _finish(ws, config, schema, gpus, start.reference, "the config", check_output_dir)
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
    prepared = _finish(ws, config, schema, gpus, reference, str(path), check_output_dir)
    return replace(prepared, text=render(load_recipe("dpo"), config, _introduction(ws, prepared)))


def _finish(
    ws: Workspace,
    config: dict[str, Any],
    schema: Schema,
    gpus: list[Gpu],
    reference: Policy,
    source: str,
    check_output_dir: bool,
) -> Prepared:
    notes = check_training(config, schema, ws, gpus, source)
    datasets, held_out = check_datasets(config, ws)
    output_dir = ws.relative(ws.root / str(config["output_dir"]))
    if check_output_dir:
        check_output(ws, output_dir, bool(config.get("overwrite_output_dir")))
    rows, held = sum(item.rows or 0 for item in datasets), sum(item.rows or 0 for item in held_out)
    disk = check_disk(ws, config, sum(_size(item) for item in [*datasets, *held_out]))
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
    return Prepared(config, "", count, reference, policy, datasets, held_out, disk, notes)


def _size(dataset: RegisteredDataset) -> int:
    return dataset.path.stat().st_size if dataset.path and dataset.path.is_file() else 0


def _only_dataset(ws: Workspace) -> list[str]:
    entries = read_registry(ws)
    pairs = [name for name, entry in entries.items() if entry.get("ranking") is True]
    names = [name for name in pairs if not (name.endswith("_test") and name.removesuffix("_test") in pairs)]
    if len(names) == 1:
        return names
    if not names:
        raise UsageError(
            "no preference dataset is registered in this workspace",
            "`rlguide download ultrafeedback`, or `rlguide register my_pairs.json`",
        )
    raise UsageError(
        f"several datasets are registered: {', '.join(names)}", f"choose: --dataset {names[0]} (or a,b for two)"
    )


def _data_keys(datasets: list[RegisteredDataset]) -> dict[str, Any]:
    """The held-out sets that were registered with the data; only without any, the engine splits some off."""
    held_out = [item.heldout for item in datasets if item.heldout]
    return {
        "dataset": ",".join(item.name for item in datasets),
        "eval_dataset": ",".join(held_out) or None,
        "val_size": None if held_out else 0.05,
    }


def compute_keys(gpus: list[Gpu], rows: int) -> dict[str, Any]:
    """The keys that depend on this host: precision, CPU or GPU, and processes to tokenize `rows` rows with."""
    cores = os.cpu_count() or 1
    workers = max(1, min(8, cores // 2, rows // 2000))
    keys: dict[str, Any] = {"preprocessing_num_workers": workers if workers > 1 else None}
    if not gpus:
        return {**keys, "bf16": False, "use_cpu": True}
    return {**keys, "bf16": True} if all(gpu.has_bf16 for gpu in gpus) else {**keys, "fp16": True}


def _with_intervals(
    config: dict[str, Any], settings: Mapping[str, Any], ws: Workspace, gpus: list[Gpu]
) -> dict[str, Any]:
    datasets, held_out = check_datasets(config, ws)
    rows, held = sum(item.rows or 0 for item in datasets), sum(item.rows or 0 for item in held_out)
    count = schedule(config, rows, held, processes(config, gpus, os.environ))
    values: dict[str, Any] = intervals(count.total_steps)
    values["eval_strategy"] = "steps" if count.held_out else "no"
    if not count.held_out:
        values["eval_steps"] = None
    return fill(load_recipe("dpo"), {**config, **values, **settings})


def _template(
    ws: Workspace, request: Request, settings: Mapping[str, Any], start: StartingPoint, schema: Schema
) -> TemplateGuess:
    chosen = request.template or settings.get("template")
    if chosen:
        return TemplateGuess(str(chosen), "as you say", True)
    base = find_base(ws, start.reference.base)
    name = start.checkpoint.base or start.reference.base
    return template_for(name, schema.model_templates, base.config, start.reference.template)


def _output_dir(ws: Workspace, request: Request, start: StartingPoint) -> str:
    """`saves/<model>/lora/dpo`, in the model's folder that the SFT checkpoint already lies in if there is one."""
    if request.output_dir:
        return ws.relative(locate_output(ws, request.output_dir))
    parts = Path(ws.relative(start.checkpoint.path)).parts
    if len(parts) >= 3 and parts[0] == "saves" and parts[2] in ("lora", "full"):
        return f"saves/{parts[1]}/lora/dpo"
    return f"saves/{model_name(start.checkpoint.base or start.reference.base).lower()}/lora/dpo"


def locate_output(ws: Workspace, text: str) -> Path:
    """Where `--output-dir` leads: it is taken from the workspace, like every path in a config."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else ws.root / path


def _introduction(ws: Workspace, prepared: Prepared) -> list[str]:
    reference = prepared.reference.describe()
    return [
        f"DPO on LoRA. Reference: {reference}. Result: {prepared.policy.describe()}.",
        prepared.schedule.describe() + ".",
        "This file is yours. Paths are relative to the workspace folder; run it there with",
        "    rlguide train --config configs/dpo_config.yaml",
        "or  llamafactory-cli train configs/dpo_config.yaml",
    ]
