"""A policy = base model + ordered adapters, and which one DPO compares with.

The trap: with `adapter_name_or_path: <SFT adapter>` alone, LLaMA-Factory resumes the SFT adapter and
computes the reference with `disable_adapter()` (train/dpo/trainer.py), which is the base model, not the SFT
model. Users see a first loss far from ln 2 and rewards that are large from the start (upstream issue #8459).
With `create_new_adapter: true` every adapter of the list is merged into the base first and a fresh one is
trained (model/adapter.py, `adapter_to_merge`); switching the fresh one off gives exactly the SFT model.

The price: what was trained is a stack. Loading the new adapter without the SFT adapter below it is another
model (upstream issues #2323, #2111), so the stack is recorded with each run and handed on as a whole.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import method_of
from rlguide.engine.config_file import split_names
from rlguide.errors import CheckpointError, DataError, UsageError
from rlguide.policy.adapter_weights import check_weights
from rlguide.policy.base import BaseModel, check_base, find_base, local_base
from rlguide.policy.checkpoint import Checkpoint, locate, read_checkpoint
from rlguide.policy.parts import check_parts
from rlguide.policy.run_record import RunRecord, record_of
from rlguide.workspace import Workspace, read_json


@dataclass(frozen=True)
class Policy:
    """A model to run: names as LLaMA-Factory takes them (hub id, or folder absolute or from the workspace)."""

    base: str
    adapters: tuple[str, ...] = ()
    template: str | None = None

    def model_config(self) -> dict[str, Any]:
        """The LLaMA-Factory keys that load this policy for inference or evaluation."""
        config: dict[str, Any] = {"model_name_or_path": self.base, "finetuning_type": "lora"}
        if self.adapters:
            config["adapter_name_or_path"] = ",".join(self.adapters)
        if self.template:
            config["template"] = self.template
        return config

    def with_adapter(self, path: str) -> Policy:
        """This policy with one more adapter on top."""
        return replace(self, adapters=(*self.adapters, path))

    def describe(self) -> str:
        """One line for a person: "base + sft + dpo", each by the end of its path."""
        return " + ".join([self.base, *self.adapters])


@dataclass(frozen=True)
class StartingPoint:
    """Where a training starts: the reference policy, and the keys that make the engine use it.

    `checkpoint` is None for a base model on the hub, of which no folder is read.
    """

    checkpoint: Checkpoint | None
    base: BaseModel
    reference: Policy
    config: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def base_name(self) -> str:
        """The base model as the checkpoint itself calls it, if it does."""
        return (self.checkpoint.base if self.checkpoint is not None else None) or self.reference.base

    @property
    def recorded_template(self) -> str | None:
        """The template that the checkpoint was trained with, if that is on record."""
        return self.checkpoint.template if self.checkpoint is not None else None


def base_start(ws: Workspace, name: str) -> StartingPoint:
    """A base model itself as the start, a folder or a hub id: nothing was trained on it, or it is a merged model.

    Raises:
        CheckpointError: it is missing, damaged, or an adapter.
    """
    path = locate(ws, name)
    if path.is_dir():
        checkpoint = read_checkpoint(path, ws)
        if checkpoint.kind != "full":
            raise CheckpointError(
                f"{name} is an adapter, not a base model", f"to train on top of it: --sft-ckpt {shlex.quote(name)}"
            )
        return starting_point(ws, checkpoint)
    base = find_base(ws, name)
    reference = Policy(base.name)
    return StartingPoint(None, base, reference, reference.model_config(), tuple(base.notes))


def starting_point(
    ws: Workspace, checkpoint: Checkpoint, base: str | None = None, trust_base: bool = False
) -> StartingPoint:
    """Make the checkpoint the reference of a preference training.

    A LoRA checkpoint becomes the stack to merge before a new adapter is created; a full checkpoint becomes the
    base itself. A checkpoint that is itself a run of rlguide brings its whole stack (another round on top).

    Raises:
        CheckpointError: a part of the stack is missing or damaged, or the base does not fit.
        UsageError: the base is unknown, or a path cannot be written in a LLaMA-Factory config.
    """
    if checkpoint.stage == "reward":
        raise CheckpointError(
            f"{checkpoint.name} is a reward model, not a policy", "choose the SFT checkpoint it was trained from"
        )
    if checkpoint.kind == "full":
        return _from_full(ws, checkpoint, base)
    recorded_base, below = _recorded_stack(checkpoint)
    name = base or recorded_base or checkpoint.base
    if name is None:
        raise UsageError(
            f"{checkpoint.name} does not say which base model it belongs to",
            "name it: --base Qwen/Qwen3-4B-Base, or the base's folder",
        )
    found = find_base(ws, name)
    parts = [*[read_checkpoint(locate(ws, item), ws) for item in below], checkpoint]
    notes: list[str] = []
    for part in parts:
        check_weights(part)
        check_parts(ws, part.name, part.record)
        notes += [note for note in check_base(part, found, trust_base) if note not in notes]
        check_adapter_path(part.name)
    if checkpoint.stage == "preference" and not below:
        notes.append(
            f"{checkpoint.path.name} comes from preference training and has no rlguide run.json: "
            "if it was trained on top of an SFT adapter, that adapter is missing below it"
        )
    reference = Policy(found.name, tuple(part.name for part in parts), checkpoint.template)
    config = {**replace(reference, template=None).model_config(), "create_new_adapter": True}
    return StartingPoint(checkpoint, found, reference, config, tuple(notes))


def policies_of(config: Mapping[str, Any], output_dir: str) -> tuple[Policy, Policy]:
    """The reference and the trained policy of a training config; `output_dir` is named from the workspace.

    Raises:
        UsageError: the adapter that it leaves could not be named in a list of adapters.
    """
    template = config.get("template")
    stack = tuple(split_names(config.get("adapter_name_or_path")))
    start = Policy(str(config["model_name_or_path"]), stack, template)
    if config.get("ref_model"):  # named by hand, it overrides what switching the adapter off would give
        adapters = tuple(split_names(config.get("ref_model_adapters")))
        reference = Policy(str(config["ref_model"]), adapters, template)
    else:
        reference = start
    if config.get("finetuning_type", "lora") != "lora":
        return reference, Policy(output_dir, (), template)
    check_adapter_path(output_dir)
    below = start if config.get("create_new_adapter") else replace(start, adapters=())  # else the adapter is resumed
    return reference, below.with_adapter(output_dir)


def check_policy(ws: Workspace, policy: Policy) -> list[str]:
    """Check that all of a policy is still there and fits together; returns warnings.

    Raises:
        CheckpointError: the base or an adapter is missing, damaged, or not what the one above it was trained on.
    """
    base = find_base(ws, policy.base)
    notes = base.notes
    if base.folder is not None:  # it may be a run that trained a full model
        check_parts(ws, base.name, record_of(base.folder) or RunRecord())
    for adapter in missing_parts(ws, policy):
        raise CheckpointError(
            f"{adapter} does not exist, and it is part of the policy {policy.describe()}",
            f"move it back to {locate(ws, adapter)}: the adapters above it are another model without it",
        )
    for adapter in policy.adapters:
        part = read_checkpoint(locate(ws, adapter), ws)
        check_weights(part, may_be_zero=adapter == policy.adapters[-1])
        check_parts(ws, part.name, part.record)
        notes += [note for note in check_base(part, base, trust_base=True) if note not in notes]
    return notes


def missing_parts(ws: Workspace, policy: Policy) -> list[str]:
    """The adapters of a policy that are no longer there."""
    return [item for item in policy.adapters if not locate(ws, item).is_dir()]


def check_reference(config: Mapping[str, Any]) -> None:
    """Refuse settings with which LLaMA-Factory drops `create_new_adapter` (model/adapter.py).

    With DeepSpeed ZeRO-3, unsloth or KTransformers adapters cannot be merged: a single one is silently resumed
    instead, so the reference is the base model again; several fail an assertion, and a quantized base fails a
    check, both after minutes of loading. A config that names its reference itself (`ref_model`), or a method
    without one, is left alone.

    Raises:
        UsageError: the reference would not be the SFT model.
    """
    method = method_of(config)
    has_reference = method is None or method.has_reference
    if not has_reference or not config.get("adapter_name_or_path") or config.get("ref_model"):
        return
    if not config.get("create_new_adapter"):
        raise UsageError(
            "without create_new_adapter: true the reference is the base model, not the SFT model",
            "set create_new_adapter: true, or name the reference with ref_model and ref_model_adapters",
        )
    cause = cannot_merge(config)
    if cause:
        raise UsageError(
            f"{cause} cannot merge the SFT adapter, so the reference would not be the SFT model but the base model",
            "merge the SFT adapter into its base first (`rlguide export`) and give the merged folder",
        )


def check_adapter_path(text: str) -> None:
    """LLaMA-Factory splits `adapter_name_or_path` on commas and strips spaces (hparams/model_args.py).

    Raises:
        UsageError: the path cannot be written there.
    """
    if "," in text or text != text.strip():
        raise UsageError(
            f"the path {text!r} has a comma or an outer space, which LLaMA-Factory's adapter list cannot hold",
            "rename that folder",
        )


def _from_full(ws: Workspace, checkpoint: Checkpoint, base: str | None) -> StartingPoint:
    if base is not None and locate(ws, base).resolve() != checkpoint.path.resolve():
        raise UsageError(
            f"{checkpoint.name} is a full model, so --base {base} has no place",
            "leave --base out: a full checkpoint is its own base",
        )
    check_parts(ws, checkpoint.name, checkpoint.record)
    reference = Policy(checkpoint.name, (), checkpoint.template)
    config = {"model_name_or_path": reference.base, "finetuning_type": "lora"}
    return StartingPoint(checkpoint, local_base(ws, checkpoint.path), reference, config)


def _recorded_stack(checkpoint: Checkpoint) -> tuple[str | None, list[str]]:
    """(base, adapters below this checkpoint) from the record of its run, if it has one."""
    record = checkpoint.record
    if record.stack is None:
        return None, []
    # The last one is the run's output directory; a checkpoint-N inside it takes its place. The run may have been
    # moved since, so the place where it lies now counts, not the one that was written down.
    return record.base, list(record.stack[:-1])


def cannot_merge(config: Mapping[str, Any]) -> str | None:
    """The setting with which LLaMA-Factory cannot merge an adapter before it trains another; None if there is none."""
    if config.get("quantization_bit"):
        return f"quantization_bit: {config['quantization_bit']}"
    for key in ("use_unsloth", "use_kt"):
        if config.get(key):
            return f"{key}: true"
    settings = config.get("deepspeed")
    if isinstance(settings, str) and Path(settings).is_file():
        try:
            settings = read_json(Path(settings))
        except DataError:
            return None
    zero = settings.get("zero_optimization") if isinstance(settings, dict) else None
    stage = zero.get("stage") if isinstance(zero, dict) else None
    return "DeepSpeed ZeRO-3" if stage == 3 else None
