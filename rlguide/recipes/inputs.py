"""What a recipe is filled with: starting point, datasets, template, keys of the method and of this host."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, method_of
from rlguide.data.ingest.views import view_names
from rlguide.data.store.dataset_info import dataset_kind, read_registry
from rlguide.data.store.registered import (
    RegisteredDataset,
    check_labelled,
    check_prompts,
    check_registered,
    label_counts,
)
from rlguide.engine.config_file import split_names
from rlguide.engine.hardware import Gpu
from rlguide.engine.schema import Schema
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.policy.base import find_base, model_name
from rlguide.policy.checkpoint import locate, read_checkpoint, read_manifest, resolve_checkpoint
from rlguide.policy.policy import StartingPoint, starting_point
from rlguide.policy.template import TemplateGuess, template_for
from rlguide.recipes.options import Request
from rlguide.workspace import Workspace

# lambda_D n_D / (lambda_U n_U) should lie between these (arXiv 2402.01306, on the choice of the lambdas; the
# KTOTrainer of trl 0.24 warns outside of the same bounds).
LEAST_RATIO, MOST_RATIO = 1.0, 4 / 3


def kto_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """The weights of desirable and undesirable answers (kto_chosen_weight, kto_rejected_weight) for these counts.

    (1, 1) where weight times count of the desirable ones is 1 to 4/3 of that of the others, as the KTO paper
    recommends; else the weight of the rarer label is raised as far as needed (rounded up to four decimals).

    Raises:
        DataError: one of the labels has no answers.
    """
    if desirable < 1 or undesirable < 1:
        missing = "desirable" if desirable < 1 else "undesirable"
        raise DataError(f"the data has no {missing} answers, and KTO needs both kinds", "add rows with the other label")
    ratio = desirable / undesirable
    if ratio < LEAST_RATIO:
        return _round_up(LEAST_RATIO / ratio), 1.0
    if ratio > MOST_RATIO:
        return 1.0, _round_up(ratio / MOST_RATIO)
    return 1.0, 1.0


def _round_up(weight: float) -> float:
    return math.ceil(weight * 1e4) / 1e4


def method_datasets(ws: Workspace, method: Method, names: list[str]) -> list[RegisteredDataset]:
    """The datasets as the method needs them, each checked: pairs are seen as labelled answers or prompts if need be.

    Raises:
        UsageError, DataError: an unknown name, or data that the method cannot use.
    """
    if method.data == "pairs":
        return check_registered(ws, names)
    if method.data == "prompts":
        return check_prompts(ws, view_names(ws, names, "ppo"))
    return check_labelled(ws, view_names(ws, names, "kto"))


def check_datasets(config: Mapping[str, Any], ws: Workspace) -> tuple[list[RegisteredDataset], list[RegisteredDataset]]:
    """The training and evaluation datasets of a config, each checked. Raises UsageError or DataError.

    `dataset_dir` counts from the workspace, where the engine runs, whatever the current folder is.
    """
    folder = ws.root / str(config.get("dataset_dir", "data"))
    place = Workspace(folder.parent) if folder.name == "data" else ws
    train, held_out = split_names(config.get("dataset")), split_names(config.get("eval_dataset"))
    method = method_of(str(config.get("stage")), config.get("pref_loss"))
    checks = {"labels": check_labelled, "prompts": check_prompts}
    check = checks.get(method.data if method is not None else "pairs", check_registered)
    datasets = check(place, train)
    spoilt = [item for item in datasets if item.heldout in train]
    if spoilt:
        raise UsageError(
            f"{spoilt[0].heldout} holds the pairs that {spoilt[0].name} keeps out of training",
            f"take {spoilt[0].heldout} out of --dataset; evaluation needs pairs that were not trained on",
        )
    both = set(train) & set(held_out)
    if both:
        raise UsageError(
            f"{sorted(both)[0]} is both trained on and evaluated on", "take it out of dataset or out of eval_dataset"
        )
    return datasets, check(place, held_out)


def dataset_bytes(dataset: RegisteredDataset) -> int:
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


def method_settings(method: Method, request: Request) -> dict[str, Any]:
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


def method_keys(
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


def only_dataset(ws: Workspace, method: Method) -> list[str]:
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


def data_keys(datasets: list[RegisteredDataset]) -> dict[str, Any]:
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


def choose_template(
    ws: Workspace, request: Request, settings: Mapping[str, Any], start: StartingPoint, schema: Schema
) -> TemplateGuess:
    chosen = request.template or settings.get("template")
    if chosen:
        return TemplateGuess(str(chosen), "as you say", True)
    base = find_base(ws, start.reference.base)
    name = start.checkpoint.base or start.reference.base
    return template_for(name, schema.model_templates, base.config, start.reference.template)


def choose_output_dir(ws: Workspace, request: Request, start: StartingPoint) -> str:
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
