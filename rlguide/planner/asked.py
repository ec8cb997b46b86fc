"""What a person wants planned: a training as `configure` would prepare it, or a model alone, before there are data."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from rlguide import hub_settings
from rlguide.catalog.gpus import Gpus, detected
from rlguide.catalog.methods import find_method
from rlguide.catalog.recipes import ready_recipes
from rlguide.engine.find import Engine
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.engine.schema import load_schema
from rlguide.errors import DataError, UsageError
from rlguide.planner.lengths import Lengths, at_most, lengths_of
from rlguide.planner.simulation import STAGES
from rlguide.planner.training import Training
from rlguide.policy.base import cached_file
from rlguide.policy.checkpoint import locate
from rlguide.policy.template import template_for
from rlguide.recipes.checks import check_keys
from rlguide.recipes.data import choose_data
from rlguide.recipes.foreseen import check_numbers
from rlguide.recipes.inputs import compute_keys, method_settings
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import Prepared
from rlguide.recipes.render import fill, load_recipe
from rlguide.recipes.schedule import intervals, schedule
from rlguide.workspace import Workspace, read_json

_ROWS = 10_000  # examples, where there are no data
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
_LARGEST = 1 << 20  # bytes of a config.json
_FIX = "name a model's folder or its config.json, or set HF_ENDPOINT to a mirror of the hub"


def host_gpus() -> Gpus | None:
    """Those of this host; None if there are none."""
    return detected(list_gpus())


def as_host(gpus: Gpus | None) -> list[Gpu] | None:
    """These GPUs as the driver would list them; None for those of this host."""
    if gpus is None:
        return None
    model = gpus.model
    # Of one that is known by its memory only it is not known either; today most can compute in bf16.
    capability = model.capability or ((7, 0) if model.flops and not model.peak("bf16") else (8, 0))
    return [Gpu(place, model.title, model.memory_bytes, model.memory_bytes, capability) for place in range(gpus.count)]


def of_prepared(ws: Workspace, prepared: Prepared, is_plain: bool) -> Training:
    """A training that `prepare` has made ready. Raises DataError if the config.json of its model cannot be had."""
    method, config = prepared.method, prepared.config
    model = prepared.base.config or model_config(ws, prepared.base.name)
    datasets = prepared.datasets if method.stage in STAGES else []  # what is not planned anyway is not counted
    lengths = lengths_of(ws, prepared.engine, datasets, config, _responses(method.stage))
    return _packed(Training(method, config, model, prepared.schedule, lengths, is_plain))


def of_model(
    ws: Workspace, engine: Engine, model: str, options: TrainingOptions, host: Sequence[Gpu], is_plain: bool
) -> Training:
    """A training of a model by the recipe of a method, without a checkpoint; data are those that the options name.

    Args:
        model: a config.json, a model's folder, or a hub id.
        host: the GPUs.

    Raises:
        UsageError, DataError: what is asked for does not exist, or the settings are none of the engine's.
        EngineError: the engine does not import.
    """
    method = find_method(options.method)
    recipe = load_recipe(method.name)
    settings = method_settings(method, options)
    schema = load_schema(engine)
    check_keys(settings, schema, "--set")
    check_numbers(settings, "--set")
    shapes = model_config(ws, model)
    template = options.template
    if template is None:
        with suppress(UsageError):  # lengths are estimated without one
            template = template_for(model, schema.model_templates, dict(shapes)).name
    values: dict[str, Any] = {**compute_keys(list(host), 0), "model_name_or_path": model, "template": template}
    config = fill(recipe, {**values, **settings})
    if options.datasets:
        data = choose_data(ws, method, options.datasets, settings, "eval_dataset" in recipe.defaults, dry_run=True)
        lengths = lengths_of(ws, engine, data.train, config, _responses(method.stage))
        counts, held_out = [item.rows for item in data.train], [item.rows for item in data.held_out]
    else:
        lengths, counts, held_out = _without_data(config, method.stage), [_ROWS], [0]
    plan = schedule(config, counts, held_out, max(1, len(host)))
    if held_out and any(held_out) and "eval_strategy" in recipe.defaults:
        config = {**config, "eval_strategy": "steps", "eval_steps": intervals(plan.total_steps)["eval_steps"]}
    return _packed(Training(method, config, shapes, plan, lengths, is_plain))


def _packed(training: Training) -> Training:
    """With `packing` SFT trains on rows of `cutoff_len` tokens that are filled with examples.

    LLaMA-Factory 0.9.5, data/processor/supervised.py: each is filled as far as it can be, and padded to that length.
    """
    config, before = training.config, training.schedule
    if training.method.stage != "sft" or not (config.get("packing") or config.get("neat_packing")):
        return training
    cutoff = int(config.get("cutoff_len") or 2048)
    each = max(1.0, cutoff / training.lengths.mean)
    counts = [math.ceil(rows / each) for rows in (before.rows, before.held_out)]
    plain = {**config, "val_size": 0, "max_samples": None, "mix_strategy": None}  # what these do is done
    after = schedule(plain, counts[:1], counts[1:], before.processes)
    full = at_most(cutoff, 1)
    why = f"{each:.1f} examples packed into cutoff_len {cutoff}: {training.lengths.why}"
    unit = f"rows of packed {before.unit}"
    return replace(training, schedule=replace(after, unit=unit, is_exact=False), lengths=replace(full, why=why))


def model_config(ws: Workspace, name: str) -> Mapping[str, Any]:
    """The config.json of a model: that file, a folder's, or that of a hub id, which is downloaded if need be.

    Of a model of the ready recipes its shapes are known without the hub.

    Raises:
        DataError: it cannot be had, or is not one.
    """
    path = locate(ws, name)
    if path.is_file() or name.endswith(".json"):
        return _checked(read_json(path), name)
    if path.is_dir():
        return _checked(read_json(path / "config.json"), name)
    cached = cached_file(name, "config.json")
    listed = next((recipe.model.shapes for recipe in ready_recipes().values() if recipe.model.hub_id == name), None)
    return _checked(read_json(cached) if cached else listed or _downloaded(name), name)


def _downloaded(name: str) -> Any:
    """The config.json on the hub: one small file, with the address and the token of the hub's own client."""
    import requests
    from huggingface_hub import get_token

    if _HUB_ID.fullmatch(name) is None or hub_settings.is_offline():
        why = "HF_HUB_OFFLINE is set" if _HUB_ID.fullmatch(name) else "it is no hub id, and there is no such folder"
        raise DataError(f"the config.json of {name} cannot be had: {why}", _FIX)
    token = get_token()
    address = f"{hub_settings.endpoint()}/{name}/resolve/main/config.json"
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = requests.get(address, headers=headers, timeout=hub_settings.timeout())
        answer.raise_for_status()
        return json.loads(answer.content[:_LARGEST])
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        fix = "accept its licence on the hub and set HF_TOKEN" if status in (401, 403) else _FIX
        raise DataError(f"the config.json of {name} cannot be had: the hub says {status}", fix) from None
    except (requests.RequestException, ValueError, RecursionError) as error:  # the last: nested without end
        raise DataError(f"the config.json of {name} cannot be had: {type(error).__name__}", _FIX) from None


def _checked(config: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(config, dict) or not config.get("model_type") or not isinstance(config["model_type"], str):
        raise DataError(f"{name} is not the config of a model: it has no model_type", "name a model's config.json")
    return config


def _responses(stage: str) -> int:
    return 2 if stage in ("dpo", "rm") else 1


def _without_data(config: Mapping[str, Any], stage: str) -> Lengths:
    cutoff = config.get("cutoff_len", 2048)
    if not isinstance(cutoff, int) or cutoff < 16:
        raise UsageError(f"cutoff_len {cutoff} is too short", "give at least 16")
    return at_most(cutoff, _responses(stage))
