"""From a checkpoint and datasets to a complete, checked config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, find_method
from rlguide.engine.capabilities import ppo_template
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.schema import Schema, load_schema
from rlguide.errors import UsageError, did_you_mean
from rlguide.policy.base import find_base, model_name
from rlguide.policy.checkpoint import locate, read_checkpoint, read_manifest, resolve_checkpoint
from rlguide.policy.policy import Policy, StartingPoint, starting_point
from rlguide.policy.template import TemplateGuess, template_for
from rlguide.preferences.labels import kto_weights, label_counts
from rlguide.preferences.registry import RegisteredDataset, dataset_kind, read_registry
from rlguide.recipes.check import (
    check_datasets,
    check_disk,
    check_keys,
    check_method,
    check_output,
    check_training,
    method_datasets,
    processes,
    split_names,
)
from rlguide.recipes.config_file import load_config
from rlguide.recipes.render import Recipe, fill, load_recipe, render
from rlguide.recipes.schedule import Schedule, intervals, schedule
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line. None: choose well."""

    sft_ckpt: str = "latest"
    reward_model: str | None = None
    from_run: str | None = None  # another round on top of this run, instead of `sft_ckpt`
    method: str = "dpo"
    loss: str | None = None
    datasets: tuple[str, ...] = ()
    base: str | None = None
    template: str | None = None
    output_dir: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trust_base: bool = False


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
    settings = _settings(method, request)
    recipe = load_recipe(method.name)
    schema = load_schema(engine)
    check_keys(settings, schema, "--set")
    check_method({**fill(recipe, {}), **settings}, engine.versions, "--set")
    gpus = list_gpus()
    start = find_start(ws, request)
    datasets = method_datasets(ws, method, list(request.datasets) or _only_dataset(ws, method))
    template = _template(ws, request, settings, start, schema)
    values = {
        **start.config,
        **{key: value for key, value in _data_keys(datasets).items() if key in recipe.defaults},
        **_method_keys(ws, method, datasets, request, start),
        **compute_keys(gpus, sum(item.rows or 0 for item in datasets)),
        "dataset_dir": "data",
        "template": ppo_template(engine.versions, template.name) if method.name == "ppo" else template.name,
        "output_dir": _output_dir(ws, request, start),
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
    return Prepared(method, config, "", count, reference, policy, datasets, held_out, disk, notes)


def _size(dataset: RegisteredDataset) -> int:
    return dataset.path.stat().st_size if dataset.path and dataset.path.is_file() else 0


def find_start(ws: Workspace, request: Request) -> StartingPoint:
    """The checkpoint to start from; for another round, a finished run with its whole stack.

    Raises:
        UsageError, CheckpointError: there is none, or it does not fit.
    """
    if request.from_run is None:
        return starting_point(ws, resolve_checkpoint(ws, request.sft_ckpt), request.base, request.trust_base)
    path = locate(ws, request.from_run)
    manifest = read_manifest(path)
    if manifest is None:
        raise UsageError(
            f"{request.from_run} is not a run of rlguide: it has no run.json", "a plain checkpoint goes with --sft-ckpt"
        )
    if manifest.get("status") != "finished" and (path / "run.json").exists():
        raise UsageError(f"the run {request.from_run} is not finished", f"`rlguide train --resume {request.from_run}`")
    return starting_point(ws, read_checkpoint(path, ws.saves), request.base, request.trust_base)


def _settings(method: Method, request: Request) -> dict[str, Any]:
    """The values of `--set` and `--loss`. Raises UsageError for a loss that the method does not have."""
    settings = dict(request.settings)
    if request.loss is None:
        return settings
    if request.loss not in method.losses or len(method.losses) < 2:
        fits = f"has {', '.join(method.losses)}" if len(method.losses) > 1 else "has no choice of losses"
        near = did_you_mean(request.loss, list(method.losses))
        raise UsageError(
            f"no loss {request.loss} for {method.name}{near}, which {fits}",
            "leave --loss out; orpo, simpo and kto are methods: --method kto",
        )
    return {"pref_loss": request.loss, **settings}


def _method_keys(
    ws: Workspace, method: Method, datasets: list[RegisteredDataset], request: Request, start: StartingPoint
) -> dict[str, Any]:
    """KTO's weights, from the counts of the labels; PPO's reward model. Raises UsageError, CheckpointError."""
    if request.reward_model and method.name != "ppo":
        raise UsageError(f"--reward-model has no effect with {method.name}", "it belongs to --method ppo")
    if method.name == "kto":
        chosen, rejected = kto_weights(*label_counts(ws, [item.name for item in datasets]))
        return {"kto_chosen_weight": round(chosen, 4), "kto_rejected_weight": round(rejected, 4)}
    if method.name == "ppo" and "reward_model" not in request.settings:
        return {"reward_model": _reward_model(ws, request.reward_model, start)}
    return {}


def _reward_model(ws: Workspace, name: str | None, start: StartingPoint) -> str:
    """The reward model as the config names it: one that was trained on top of the same policy.

    LLaMA-Factory puts its adapter on the merged SFT model (train/trainer_utils.py, `create_reward_model`); on
    another model its scores would mean nothing.
    """
    if name is None:
        raise UsageError(
            "PPO needs a reward model",
            "train one: `rlguide train --method rm`, then give its run: --reward-model saves/.../lora/rm",
        )
    checkpoint = read_checkpoint(locate(ws, name), ws.saves)
    if checkpoint.stage != "reward":
        raise UsageError(f"{name} is no reward model", "name a run of `rlguide train --method rm`")
    manifest = read_manifest(checkpoint.path)
    below = manifest.get("stack", [])[:-1] if manifest else None
    if manifest and (manifest.get("base"), below) != (start.reference.base, list(start.reference.adapters)):
        raise UsageError(
            f"the reward model {name} was trained on {' + '.join([str(manifest.get('base')), *(below or [])])}",
            f"PPO starts from {start.reference.describe()}: train a reward model on that",
        )
    return ws.relative(checkpoint.path)


def _only_dataset(ws: Workspace, method: Method) -> list[str]:
    entries = read_registry(ws)
    kinds = {name: dataset_kind(ws, name) for name in entries}
    wanted = ("pairs",) if method.data == "pairs" else ("pairs", "labels")
    names = [
        name
        for name, kind in kinds.items()
        if kind in wanted and not (name.endswith("_test") and name.removesuffix("_test") in entries)
    ]
    names = [name for name in names if not (name.endswith("_kto") and name.removesuffix("_kto") in names)]
    if len(names) == 1:
        return names
    if not names:
        raise UsageError(
            f"no dataset for {method.name} is registered in this workspace",
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
    """`saves/<model>/lora/<method>`, in the model's folder that the SFT checkpoint already lies in if there is one."""
    if request.output_dir:
        return ws.relative(locate_output(ws, request.output_dir))
    parts = Path(ws.relative(start.checkpoint.path)).parts
    if len(parts) >= 3 and parts[0] == "saves" and parts[2] in ("lora", "full", "merged"):
        model = parts[1]
    else:
        model = model_name(start.checkpoint.base or start.reference.base).lower()
    loss = request.settings.get("pref_loss", request.loss)
    name = request.method if loss in (None, "sigmoid", request.method) else f"{request.method}-{loss}"
    return f"saves/{model}/lora/{name}"


def locate_output(ws: Workspace, text: str) -> Path:
    """Where `--output-dir` leads: it is taken from the workspace, like every path in a config."""
    path = Path(text).expanduser()
    return path if path.is_absolute() else ws.root / path


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
