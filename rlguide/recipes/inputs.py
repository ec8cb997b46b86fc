"""What a recipe is filled with: keys of the method, of the options and of this host; template; output directory."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from rlguide.catalog.best_by import best_keys
from rlguide.catalog.methods import Method, methods
from rlguide.engine.hardware import Gpu
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.policy.base import model_name
from rlguide.policy.checkpoint import locate, read_checkpoint
from rlguide.policy.policy import Policy, StartingPoint
from rlguide.policy.run_record import RunRecord
from rlguide.policy.template import TemplateGuess, template_for
from rlguide.policy.value_head import check_head_of
from rlguide.recipes.data import TrainingData
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.output import next_name
from rlguide.workspace import Workspace

# lambda_D n_D / (lambda_U n_U) should lie between these (arXiv 2402.01306, on the choice of the lambdas; the
# KTOTrainer of trl 0.24 warns outside of the same bounds).
LEAST_RATIO, MOST_RATIO = 1.0, 4 / 3
MOST_WORKERS = 8  # processes that tokenize


def kto_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """The weights of desirable and undesirable examples (kto_chosen_weight, kto_rejected_weight) for these counts.

    (1, 1) where weight times count of the desirable ones is 1 to 4/3 of that of the others, as the KTO paper
    recommends; else the weight of the rarer label is raised as far as needed (rounded up to four decimals).

    Raises:
        DataError: one of the labels has no examples.
    """
    if desirable < 1 or undesirable < 1:
        missing = "desirable" if desirable < 1 else "undesirable"
        raise DataError(
            f"the data has no {missing} examples, and KTO needs both kinds", "add rows with the other label"
        )
    ratio = desirable / undesirable
    if ratio < LEAST_RATIO:
        return _round_up(LEAST_RATIO / ratio), 1.0
    if ratio > MOST_RATIO:
        return 1.0, _round_up(ratio / MOST_RATIO)
    return 1.0, 1.0


def label_keys(desirable: int, undesirable: int) -> dict[str, float]:
    """The keys of `kto_weights`. Raises DataError as it does."""
    chosen, rejected = kto_weights(desirable, undesirable)
    return {"kto_chosen_weight": round(chosen, 4), "kto_rejected_weight": round(rejected, 4)}


def _round_up(weight: float) -> float:
    return math.ceil(weight * 1e4) / 1e4


def method_settings(method: Method, options: TrainingOptions) -> dict[str, Any]:
    """The keys that the options themselves name: `--loss`, `--best-by`, and those of `TrainingOptions.keys`.

    Raises:
        UsageError: an option, a loss or a figure that the method does not have.
    """
    if options.reward_model and "reward_model" not in method.keys:
        raise UsageError(f"--reward-model has no effect with {method.name}", "it belongs to --method ppo")
    if options.names_step:
        raise UsageError("--step and --last choose a step of a run, and none is named", "name it: --from RUN")
    loss, keys = options.loss, {**best_keys(method, options.best_by), **options.keys}
    if loss is None:
        return keys
    if loss not in method.choices:
        fits = f"has {', '.join(method.choices)}" if method.choices else "has no choice of losses"
        near = did_you_mean(loss, list(method.choices))
        raise UsageError(
            f"no loss {loss} for {method.name}{near}, which {fits}",
            f"leave --loss out; {loss} is a method: --method {loss}" if loss in methods() else "leave --loss out",
        )
    return {"pref_loss": loss, **keys}


def method_keys(
    ws: Workspace, method: Method, data: TrainingData, options: TrainingOptions, start: StartingPoint
) -> dict[str, Any]:
    """KTO's weights, from the counts of the labels; PPO's reward model. Raises UsageError, CheckpointError."""
    if data.labels is not None:
        return label_keys(*data.labels)
    if "reward_model" in method.keys and "reward_model" not in options.settings:
        return {"reward_model": _reward_model(ws, options.reward_model, start)}
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
    checkpoint = read_checkpoint(locate(ws, name), ws)
    if checkpoint.stage != "reward":
        raise UsageError(f"{name} is not a reward model", "name a run of `rlguide train --method rm`")
    check_head_of(checkpoint.path, checkpoint.name)
    record = checkpoint.record
    below = Policy(str(record.base), (record.stack or ())[:-1])
    if record != RunRecord() and (below.base, below.adapters) != (start.reference.base, start.reference.adapters):
        raise UsageError(
            f"the reward model {name} was trained on {below.describe()}",
            f"PPO starts from {start.reference.describe()}: train a reward model on that",
        )
    return checkpoint.name


def tokenizing_processes(rows: int, cores: int) -> int | None:
    """How many processes tokenize so many rows on so many cores; None for one, which needs no key."""
    workers = min(MOST_WORKERS, cores // 2, rows // 2000)
    return workers if workers > 1 else None


def compute_keys(gpus: list[Gpu], rows: int) -> dict[str, Any]:
    """The keys that depend on this host: precision, CPU or GPU, and processes to tokenize `rows` rows with."""
    keys: dict[str, Any] = {"preprocessing_num_workers": tokenizing_processes(rows, os.cpu_count() or 1)}
    if not gpus:
        return {**keys, "bf16": False, "use_cpu": True}
    return {**keys, "bf16": True} if all(gpu.has_bf16 for gpu in gpus) else {**keys, "fp16": True}


def choose_template(options: TrainingOptions, start: StartingPoint, model_templates: dict[str, str]) -> TemplateGuess:
    """The template of the options, else the one of SFT. Raises UsageError if it cannot be inferred."""
    chosen = options.template or options.settings.get("template")
    if chosen:
        return TemplateGuess(str(chosen), "as given", True)
    return template_for(start.base_name, model_templates, start.base.config, start.reference.template)


def choose_output_dir(ws: Workspace, method: Method, options: TrainingOptions, start: StartingPoint) -> str:
    """`saves/<model>/lora/<method>`, in the model's folder that the start already lies in if there is one.

    Where the whole model is trained, it says full instead of lora. Where the folder holds a finished run, it counts on
    (dpo-2, dpo-3), unless the run is to be overwritten.

    `--output-dir` is taken from the workspace, like every path in a config.
    """
    if options.output_dir:
        return ws.relative(ws.root / Path(options.output_dir).expanduser())
    parts = Path(start.checkpoint.name if start.checkpoint is not None else "").parts
    if len(parts) >= 3 and parts[0] == "saves" and parts[2] in ("lora", "full", "merged"):
        model = parts[1]
    else:
        model = model_name(start.base_name).lower()
        if start.checkpoint is not None and (ws.saves / model / "lora").is_relative_to(start.checkpoint.path):
            model = f"{model}-tuned"  # a run has no place within the checkpoint that it starts from
    loss = options.settings.get("pref_loss", options.loss)
    is_default = loss is None or loss == next(iter(method.losses), None)
    kind = "full" if options.settings.get("finetuning_type") in ("full", "freeze") else "lora"
    name = f"saves/{model}/{kind}/{method.name if is_default else f'{method.name}-{loss}'}"
    return name if options.settings.get("overwrite_output_dir") else next_name(ws, name)
