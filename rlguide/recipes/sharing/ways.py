"""The ways in which several processes share a training, as LLaMA-Factory's keys.

DDP (torch's DistributedDataParallel) is what it does without any: each process holds all, and gradients are summed. An
update exchanges gradients only, and with LoRA there is nothing to share but frozen weights.

ZeRO-2 shares gradients and the optimizer's state, where all weights are trained, and exchanges as much as DDP. FSDP2
and ZeRO-3 share the weights, too, which they gather in each pass: half as much again as DDP exchanges where all are
trained, and far more with LoRA (arXiv 1910.02054, section 7). FSDP2 comes before ZeRO-3, as it needs no package, and no
merging of the SFT adapter into a model of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO, DDP, FSDP, ZERO2, ZERO3 = "auto", "ddp", "fsdp", "zero2", "zero3"
SHARINGS = (AUTO, DDP, FSDP, ZERO2, ZERO3)
TITLES = {DDP: "DDP", FSDP: "FSDP2", ZERO2: "ZeRO-2", ZERO3: "ZeRO-3"}
KEYS = ("deepspeed", "fsdp")
VALUE_HEAD = ("rm", "ppo")  # stages whose model has a head that gives a number

# Keys of transformers' `fsdp_config`. 4.57 itself does not read all of them: `rlguide_worker/sharding.py` has which.
# A full state is what an adapter is written from; one process reads the weights, or each GPU would hold all of them
# before they are shared (transformers, modeling_utils.py; accelerate, fsdp2_prepare_model).
_FSDP2 = {
    "version": 2,
    "reshard_after_forward": True,
    "state_dict_type": "FULL_STATE_DICT",
    "cpu_ram_efficient_loading": True,
}
# "auto" is what transformers fills in from the training's own keys (integrations/deepspeed.py).
_DEEPSPEED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
}
_ZERO: dict[str, dict[str, Any]] = {
    ZERO2: {"stage": 2},
    ZERO3: {
        "stage": 3,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,  # else no adapter is written, only its pieces
    },
}


def sharing_keys(name: str | None) -> dict[str, Any]:
    """The keys of a config for a way; none for DDP, and where the plan is to choose."""
    if name == FSDP:
        return {"fsdp": "full_shard auto_wrap", "fsdp_config": dict(_FSDP2)}
    if name in _ZERO:
        return {"deepspeed": {**_DEEPSPEED, "zero_optimization": dict(_ZERO[name])}}
    return {}


def keys_over(name: str | None) -> dict[str, Any]:
    """The keys of a way over a config that may say another: those of the other are dropped (None)."""
    if name in (None, AUTO):
        return {}
    return {**dict.fromkeys((*KEYS, "fsdp_config")), **sharing_keys(name)}


def is_said(config: Mapping[str, Any]) -> bool:
    """Whether a config says how processes share the training."""
    return any(config.get(key) for key in KEYS)


def candidates(config: Mapping[str, Any], stage: str, has_deepspeed: bool) -> list[str]:
    """The ways to try where DDP does not fit, those that exchange least first."""
    if is_said(config) or config.get("quantization_bit") or config.get("use_cpu") or stage == "ppo":
        return []  # a person's own; or a base of 4 bits, which FSDP2 cannot share, and ZeRO-3 was not tried with
    is_full = config.get("finetuning_type") in ("full", "freeze")
    found = [ZERO2] if has_deepspeed and is_full else []
    found += [FSDP] if stage not in VALUE_HEAD else []
    return [*found, ZERO3] if has_deepspeed else found
