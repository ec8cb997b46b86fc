"""What LLaMA-Factory would say only after its imports, or never: keys that fail or have no effect, odd values."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import Method, method_of
from rlguide.engine.config_file import split_names
from rlguide.errors import CheckpointError, EngineError, UsageError
from rlguide.policy.base import BaseModel, find_base, model_name
from rlguide.policy.checkpoint import locate, read_checkpoint
from rlguide.policy.template import template_for
from rlguide.recipes.render import load_recipe
from rlguide.workspace import Workspace

_LARGEST = 2**53  # no count of steps, tokens or processes is larger, and a float still holds it
_POSITIVE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "pref_beta",
    "lora_rank",
    "cutoff_len",
    "max_samples",
    "logging_steps",
    "preprocessing_num_workers",
)
_SHARES = ("warmup_ratio", "lora_dropout")  # from 0 to 1 (transformers, training_args.py; torch, Dropout)
_UNBOUNDED = ("max_grad_norm",)  # .inf means that nothing is clipped
_CAUTIOUS = ("learning_rate", "pref_beta")  # a value far out of their range is a slip more often than an experiment
_FAR = 100


def check_numbers(config: Mapping[str, Any], source: str) -> None:
    """Refuse numbers that are not finite or too large, or not in the range that they must be in.

    Raises:
        UsageError: the first of them; the arithmetic of steps would fail on it.
    """
    for key, value in config.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if isinstance(value, float) and not math.isfinite(value) and key not in _UNBOUNDED:
            raise UsageError(f"{source}: {key} is {value}, which is not a finite number", f"set {key} to a number")
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise UsageError(f"{source}: {key} is larger than any training can use", f"set {key} to a smaller number")
        if key in _POSITIVE and not value > 0:
            raise UsageError(f"{source}: {key} is {value}, but must be above 0", f"set {key} to a positive number")
        if key in _SHARES and not 0 <= value <= 1:
            raise UsageError(f"{source}: {key} is {value}, but must be from 0 to 1", f"set {key} to such a share")


def check_foreseen(
    config: Mapping[str, Any],
    method: Method,
    versions: Mapping[str, str],
    source: str,
    later: Collection[str] = (),
) -> list[str]:
    """Refuse what LLaMA-Factory fails on; returns what it ignores, as warnings.

    Args:
        versions: what the engine has, by distribution.
        later: keys that get their values later.

    Raises:
        UsageError: a key that fails with this method or beside another key, or nothing would be trained.
        EngineError: a package or a version that the engine lacks.
    """
    if not config.get("do_train"):
        said = "false" if "do_train" in config else "missing"
        raise UsageError(f"{source}: do_train is {said}, so nothing would be trained", "set do_train: true")
    notes = []
    for rule in engine_keys().rules:
        for key in rule.met(config, method.name, versions, later):
            if rule.does == "fails":
                raise (EngineError if rule.where else UsageError)(f"{source}: {key} {rule.why}", rule.fix)
            notes.append(f"{key} {rule.why} ({method.name}; {rule.source})")
    _check_packages(config, versions, source)
    _check_best_model(config, source, later)
    return notes


def _check_packages(config: Mapping[str, Any], versions: Mapping[str, str], source: str) -> None:
    for key, package in engine_keys().packages.items():
        if config.get(key) and package not in versions:
            raise EngineError(
                f"{source}: {key} needs {package}, which the engine does not have",
                f"install {package} in the engine's environment, or remove {key}",
            )
    for key, table in engine_keys().values.items():
        asked = config.get(key)
        for value in asked if isinstance(asked, list) else [asked]:
            packages = table.get(str(value), ())
            if key == "report_to" and value not in (None, "none", "all", *table):
                raise UsageError(
                    f"{source}: report_to is {value!r}, which LLaMA-Factory does not know",
                    f"choose none or one of {', '.join(table)}",
                )
            if packages and not any(package in versions for package in packages):
                raise EngineError(
                    f"{source}: {key} {value} needs {packages[0]}, which the engine does not have",
                    f"install {packages[0]} in the engine's environment, or "
                    + ("set report_to: none" if key == "report_to" else f"remove {key}"),
                )


def _check_best_model(config: Mapping[str, Any], source: str, later: Collection[str]) -> None:
    """The best checkpoint is only known if one is evaluated whenever one is saved (transformers, training_args.py)."""
    keys = ("eval_strategy", "save_strategy", "eval_steps", "save_steps")
    if not config.get("load_best_model_at_end") or config.get("save_strategy") == "best" or set(keys) & set(later):
        return
    evaluates, saves = config.get("eval_strategy") or "no", config.get("save_strategy") or "steps"
    if evaluates != saves:
        raise UsageError(
            f"{source}: load_best_model_at_end needs evaluations when checkpoints are saved, but eval_strategy is "
            f"{evaluates} and save_strategy is {saves}",
            "set both to steps, or both to epoch; or remove load_best_model_at_end",
        )
    each = config.get("eval_steps") or config.get("logging_steps", 500)
    saved = config.get("save_steps", 500)
    if evaluates == "steps" and isinstance(each, int) and isinstance(saved, int) and saved % each:
        raise UsageError(
            f"{source}: load_best_model_at_end needs save_steps to be a multiple of eval_steps, but they are {saved} "
            f"and {each}",
            f"add --set eval_steps={each} --set save_steps={each * max(1, round(saved / each))}",
        )


def check_reference_model(ws: Workspace, config: Mapping[str, Any], source: str) -> None:
    """Refuse a reference model (`ref_model`, `ref_model_adapters`) that cannot be loaded. Raises CheckpointError."""
    try:
        if config.get("ref_model"):
            find_base(ws, str(config["ref_model"]))
        for name in split_names(config.get("ref_model_adapters")):
            read_checkpoint(locate(ws, name), ws)
    except CheckpointError as error:
        raise CheckpointError(
            f"{source}: the reference cannot be loaded: {error.what}",
            "correct ref_model and ref_model_adapters, or remove them: the reference is then what training starts from",
        ) from error


def cautions(
    config: Mapping[str, Any], base: BaseModel, recorded: str | None, model_templates: Mapping[str, str]
) -> list[str]:
    """Warnings about values that are valid, and seldom meant.

    Args:
        recorded: the template that the SFT run left on record.
    """
    notes = [_far_out(key, config) for key in _CAUTIOUS]
    longest, limit = (base.config or {}).get("max_position_embeddings"), config.get("cutoff_len")
    if isinstance(longest, int) and isinstance(limit, int) and limit > longest and not config.get("rope_scaling"):
        notes.append(f"cutoff_len {limit} is above the {longest} tokens that {base.name} was made for")
    notes += _not_with_this_model(config, base)
    notes.append(_another_template(str(config["template"]), base, recorded, model_templates))
    return [note for note in notes if note]


def _not_with_this_model(config: Mapping[str, Any], base: BaseModel) -> list[str]:
    """What LLaMA-Factory 0.9.5 ignores with this model (model/model_utils/longlora.py and rope.py)."""
    known, notes = base.config or {}, []
    if config.get("shift_attn") and known.get("model_type", "llama") != "llama":
        notes.append(f"shift_attn has no effect, because {base.name} is not a llama model")
    longest, limit = known.get("max_position_embeddings"), config.get("cutoff_len", 2048)
    scaled = known.get("rope_scaling")
    if isinstance(scaled, dict):
        longest = scaled.get("original_max_position_embeddings", longest)
    if config.get("rope_scaling") and isinstance(longest, int) and isinstance(limit, int) and limit <= longest:
        notes.append(
            f"rope_scaling has no effect, because cutoff_len {limit} is not above the model's {longest} tokens"
        )
    return notes


def _far_out(key: str, config: Mapping[str, Any]) -> str | None:
    method = method_of(config)
    known = load_recipe(method.name).range_of(key) if method is not None else hyperparameters()[key].range
    bounds = re.fullmatch(r"(\S+) to (\S+)", known or "")
    value = config.get(key)
    if bounds is None or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    low, high = float(bounds[1]), float(bounds[2])
    # A slip of a factor of 100 and no rounding of it.
    if low / _FAR < value < high * _FAR:
        return None
    return f"{key} {value} is far out of the sensible range of {bounds[0]} (`rlguide explain {key}`)"


def _another_template(
    template: str, base: BaseModel, recorded: str | None, model_templates: Mapping[str, str]
) -> str | None:
    try:
        guess = template_for(base.name, model_templates, base.config, recorded)
    except UsageError:
        return None  # none is known for this model, so none is wrong
    if guess.name == template:
        return None
    whose = "SFT used" if recorded else f"{model_name(base.name)} has"
    return f"the template is {template}, and {whose} {guess.name} ({guess.why}); with another one responses degrade"
