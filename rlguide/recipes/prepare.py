"""From a checkpoint and datasets to a complete, checked config."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from shlex import quote
from typing import Any

from rlguide.catalog.methods import Method, find_method, method_of
from rlguide.data.store.registered import RegisteredDataset
from rlguide.engine.capabilities import ppo_template
from rlguide.engine.config_file import load_config, split_names
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu
from rlguide.engine.installed import engine_for
from rlguide.policy.base import BaseModel
from rlguide.policy.checkpoint import locate
from rlguide.policy.policy import Policy, cannot_merge, policies_of
from rlguide.policy.run_record import RUN_CONFIG, record_of
from rlguide.policy.template import TemplateGuess
from rlguide.recipes.checks import (
    Host,
    check_keys,
    check_method,
    check_models,
    check_required,
    check_values,
    look_at_host,
)
from rlguide.recipes.data import TrainingData, choose_data, data_keys, data_of_config
from rlguide.recipes.disk import check_disk, disk_need
from rlguide.recipes.foreseen import cautions, check_foreseen, check_numbers, check_reference_model
from rlguide.recipes.inputs import choose_output_dir, choose_template, compute_keys, method_keys, method_settings
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.output import check_output
from rlguide.recipes.outward import outward_notes
from rlguide.recipes.render import fill, load_recipe, render
from rlguide.recipes.schedule import UNITS, Schedule, interval_keys, processes, schedule
from rlguide.recipes.sharing.checks import check_sharing, check_way
from rlguide.recipes.start import find_start, merged_start, other_prompts
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Prepared:
    """A checked config and what is known about it before the start."""

    engine: Engine
    method: Method
    config: dict[str, Any]
    output_dir: str  # as the config names it
    schedule: Schedule
    reference: Policy
    policy: Policy
    base: BaseModel
    datasets: list[RegisteredDataset]
    held_out: list[RegisteredDataset]
    disk_bytes: int
    notes: list[str]
    template_why: str
    gpus: list[Gpu] = field(default_factory=list)  # that it was checked for
    replays: dict[str, Any] | None = None  # as in `RunRecord`

    @property
    def text(self) -> str:
        """The config as the run's own folder has it."""
        return self.text_in(f"{self.output_dir}/{RUN_CONFIG}")

    def text_in(self, name: str) -> str:
        """The config as commented YAML in a file of this name, from the workspace; it says how to train with it."""
        return render(load_recipe(self.method.name), self.config, _introduction(self, name))


@dataclass(frozen=True)
class OwnConfig:
    """A config that is trained as it is: its user's, or that of a run.

    Attributes:
        config: with `settings` over it.
        source: what errors call it.
        template: by which its model writes prompts, where the config's engine knows that by another name.
    """

    config: Mapping[str, Any]
    settings: Mapping[str, Any]
    source: str
    template: str | None = None


@dataclass(frozen=True)
class _Draft:
    """A config whose keys are valid, and what was read to make it or to check it. `source`: what errors call it."""

    method: Method
    config: dict[str, Any]
    data: TrainingData
    base: BaseModel
    template: TemplateGuess
    schedule: Schedule
    notes: list[str]
    source: str
    sft_template: str | None  # as the SFT run left it on record


def prepare(
    ws: Workspace, main: Engine, options: TrainingOptions, dry_run: bool = False, gpus: list[Gpu] | None = None
) -> Prepared:
    """A config that can be trained: rendered from the recipe of a method, or the one that its user owns.

    Args:
        main: the engine; a method that it cannot train (PPO) gets the one that rlguide has installed.
        dry_run: write nothing, and ask for no room to write; a stack that must be merged first is refused.
        gpus: as if the host had these; its own by default.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: the first thing that would go wrong.
    """
    check_way(options.sharing, main)
    if options.config is None:
        return _checked(ws, *_fill_recipe(ws, main, options, dry_run, gpus), dry_run)
    overrides = {"template": options.template, "output_dir": options.output_dir}
    settings = {**{key: value for key, value in overrides.items() if value is not None}, **options.keys}
    config = {**load_config(options.config), **settings}
    return prepare_own(ws, main, OwnConfig(config, settings, str(options.config)), dry_run, gpus)


def prepare_own(
    ws: Workspace, main: Engine, own: OwnConfig, dry_run: bool = False, gpus: list[Gpu] | None = None
) -> Prepared:
    """A config that can be trained as it is; nothing in it is changed. Raises as `prepare`."""
    return _checked(ws, *_read_config(ws, main, own, gpus), dry_run)


def _checked(ws: Workspace, host: Host, draft: _Draft, dry_run: bool) -> Prepared:
    config, output_dir = draft.config, ws.relative(ws.root / str(draft.config["output_dir"]))
    notes = check_foreseen(config, draft.method, host.engine.versions, draft.source)
    check_values(config, host, draft.source)
    check_reference_model(ws, config, draft.source)
    check_sharing(ws.root, config, draft.method, draft.schedule.processes, draft.source)
    reference, policy = policies_of({**config, "template": draft.template.name}, output_dir)
    check_output(ws, config, draft.data)
    disk_bytes = disk_need(config, draft.base.config or {}, draft.data.size)
    if not dry_run:
        check_disk(ws, config, disk_bytes)
    return Prepared(
        engine=host.engine,
        method=draft.method,
        config=config,
        output_dir=str(config["output_dir"]),
        schedule=draft.schedule,
        reference=reference,
        policy=policy,
        base=draft.base,
        datasets=draft.data.train,
        held_out=draft.data.held_out,
        disk_bytes=disk_bytes,
        notes=[*draft.notes, *notes, *outward_notes(ws.root, ws.root / output_dir, config), *_notes(draft, host)],
        template_why=draft.template.why,
        gpus=host.gpus,
    )


def _fill_recipe(
    ws: Workspace, main: Engine, options: TrainingOptions, dry_run: bool, gpus: list[Gpu] | None
) -> tuple[Host, _Draft]:
    """The recipe of a method, filled for a checkpoint and datasets. Raises as `prepare`."""
    method = find_method(options.method)
    recipe, settings = load_recipe(method.name), method_settings(method, options)
    host = look_at_host(engine_for(main, method.name, settings.get("pref_loss")), gpus)
    check_keys(settings, host.schema, "--set")
    check_method({**fill(recipe, {}), **settings}, host.engine.versions, "--set")
    check_numbers(settings, "--set")
    later = [key for key, value in recipe.defaults.items() if value is None and key not in settings]
    asked = {**recipe.defaults, **settings}
    check_foreseen(asked, method, host.engine.versions, "--set", later)  # before anything is merged
    check_sharing(ws.root, asked, method, processes(asked, host.gpus, os.environ), "the config")
    start = find_start(ws, method, options)
    if (cause := cannot_merge(settings)) and start.reference.adapters:
        start = merged_start(ws, host.engine, start, cause, dry_run)
    evaluates = "eval_dataset" in recipe.defaults
    data = choose_data(ws, method, options.datasets, settings, evaluates, dry_run)
    template = choose_template(options, start, host.schema.model_templates)
    values = {
        **start.config,
        **{key: value for key, value in data_keys(data).items() if key in recipe.defaults},
        **method_keys(ws, method, data, options, start),
        **compute_keys(host.gpus, data.rows),
        "template": template.name,
        "output_dir": choose_output_dir(ws, method, options, start),
    }
    if method.data == "prompts":  # its engine may have the template under another name, good for prompts only
        values["template"] = ppo_template(host.engine.versions, template.name)
    config = fill(recipe, {**values, **settings})
    count = _schedule(config, method, data, host)
    config = fill(recipe, {**config, **interval_keys(recipe.defaults, count), **settings})
    check_keys(config, host.schema, "the config")
    check_required(config, "the config")
    base, notes = start.base, [*start.notes, *other_prompts(start, config)]
    if not start.config.items() <= config.items():  # another model was set by hand
        base, notes = check_models(config, ws, "the config")
    return host, _Draft(method, config, data, base, template, count, notes, "the config", start.recorded_template)


def _read_config(ws: Workspace, main: Engine, own: OwnConfig, gpus: list[Gpu] | None) -> tuple[Host, _Draft]:
    """A config that a person owns, with the options over it; nothing else in it is changed. Raises as `prepare`."""
    config, settings, source = dict(own.config), own.settings, own.source
    known = method_of(config)
    host = look_at_host(engine_for(main, known.name, config.get("pref_loss")) if known is not None else main, gpus)
    check_keys(settings, host.schema, "--set")
    check_keys(config, host.schema, source)
    check_required(config, source)
    method = check_method(config, host.engine.versions, source)
    check_numbers(config, source)
    template = TemplateGuess(own.template or str(config["template"]), "as the config says", True)
    base, notes = check_models(config, ws, source)
    data = data_of_config(ws, method, config)
    count = _schedule(config, method, data, host)
    records = [record_of(locate(ws, name)) for name in split_names(config.get("adapter_name_or_path"))]
    recorded = next((record.template for record in reversed(records) if record and record.template), None)
    return host, _Draft(method, config, data, base, template, count, notes, source, recorded)


def _schedule(config: dict[str, Any], method: Method, data: TrainingData, host: Host) -> Schedule:
    counts, held_out = [item.rows for item in data.train], [item.rows for item in data.held_out]
    count = schedule(config, counts, held_out, processes(config, host.gpus, os.environ))
    return replace(count, unit=UNITS[method.data])


def _notes(draft: _Draft, host: Host) -> list[str]:
    config, notes = draft.config, []
    if config.get("pref_ftx") and config["pref_ftx"] > 0:
        alone = "0.6931" if draft.method.first_loss.get(config.get("pref_loss") or "") == "ln 2" else "that without it"
        notes.append(f"pref_ftx {config['pref_ftx']} adds SFT loss: the first loss will be above {alone}")
    if not draft.template.is_certain:
        other = (
            "if SFT used another one"
            if config.get("adapter_name_or_path") or not draft.method.from_base
            else ("what is trained on top must use the same; if you want another one")
        )
        notes.append(f"the template is a guess; {other}, name it with --template")
    named = {**config, "template": draft.template.name}  # PPO's engine may have it under another name
    return notes + cautions(named, draft.base, draft.sft_template, host.schema.model_templates)


def _introduction(prepared: Prepared, name: str) -> list[str]:
    start = "Reference" if prepared.method.has_reference else "Start"
    paths = "Paths are relative to the workspace folder"
    if name == f"{prepared.output_dir}/{RUN_CONFIG}":  # there it would train into the folder of the run that it is of
        use = [f"The config of this run. {paths}; train the same again, there, with"]
        command = f"rlguide train --config {quote(name)} --output-dir {quote(prepared.output_dir + '-again')}"
        return [*_about(prepared, start), *use, f"    {command}"]
    return [
        *_about(prepared, start),
        f"This file is yours. {paths}; run it there with",
        f"    rlguide train --config {quote(name)}",
        f"or  llamafactory-cli train {quote(name)}",
    ]


def _about(prepared: Prepared, start: str) -> list[str]:
    result = f"{start}: {prepared.reference.describe()}. Result: {prepared.policy.describe()}."
    return [f"{prepared.method.title}. {result}", prepared.schedule.describe() + "."]
